// levels[row, column, c] = sum_i weight[i] * level(row, first + i, c): the horizontal pass over a texture, for the rows that the next one reads
// One invocation a pixel; 22-bit weights and 8-bit levels in i32 as in Pillow's Resample.c, or both in f32.
// Grid: (ceil(window_width / 8), ceil(rows / 8), 1).
@group(0) @binding(2) var image: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> levels: array<u32>; // [rows, window_width, channels], bits of i32 or f32

fn encoded(light: f32) -> f32 {
    return select(1.055 * pow(light, 1.0 / 2.4) - 0.055, 12.92 * light, light <= 0.0031308);
}

// 8-bit levels of a pixel of the rectangle, grey in all three where the model wants that.
fn level(row: u32, column: u32) -> vec3<i32> {
    var texel = clamp(textureLoad(image, vec2(params.left + column, params.top + row), 0), vec4(0.0), vec4(1.0));
    if params.is_grey != 0u {
        texel = vec4(texel.rrr, texel.a);
    }
    if params.is_linear != 0u {
        texel = vec4(encoded(texel.r), encoded(texel.g), encoded(texel.b), texel.a);
    }
    let whole = vec4<i32>(floor(texel * 255.0 + 0.5));
    var rgb = whole.rgb;
    if params.on_white != 0u {
        let sum = (rgb * whole.a + 255 * (255 - whole.a)) * 128 + (0x80 << 7u);
        rgb = (((sum >> vec3(8u)) + sum) >> vec3(8u)) >> vec3(7u);
    }
    if params.channels == 1u {
        rgb = vec3((rgb.r * 19595 + rgb.g * 38470 + rgb.b * 7471 + 0x8000) >> 16u);
    }
    return rgb;
}

@compute @workgroup_size(8, 8)
fn across(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.window_width || id.y >= params.rows {
        return;
    }
    let first = taps[2u * id.x];
    let start = taps[2u * id.x + 1u];
    let count = taps[2u * id.x + 3u] - start;
    var sum = vec3<i32>();
    var exact = vec3<f32>();
    for (var i = 0u; i < count; i++) {
        let neighbour = level(params.first_row + id.y, first + i);
        sum += bitcast<i32>(taps[start + i]) * neighbour;
        exact += bitcast<f32>(taps[start + i]) * (vec3<f32>(neighbour) * params.scale);
    }
    for (var c = 0u; c < params.channels; c++) {
        let at = (id.y * params.window_width + id.x) * params.channels + c;
        levels[at] = select(bitcast<u32>(exact[c]), rounded(sum[c]), params.is_rounded != 0u);
    }
}
