// pixel_values[image, c, y, x] = (sum_i weight[i] * levels[first + i, x, c] * scale - mean[c]) / std[c]: the vertical pass, normalised
// One invocation a pixel of the result; numbers as in across.wgsl, filled outside the window.
// Grid: (ceil(width / 8), ceil(height / 8), 1).
@group(0) @binding(3) var<storage, read> levels: array<u32>; // [rows, window_width, channels], bits of i32 or f32
@group(0) @binding(4) var<storage, read_write> pixel_values: array<f32>; // [B, channels, height, width]

fn value(x: u32, y: u32, c: u32) -> f32 {
    let start = taps[2u * y + 1u];
    let count = taps[2u * y + 3u] - start;
    let first = taps[2u * y] - params.first_row;
    var sum = 0;
    var exact = 0.0;
    for (var i = 0u; i < count; i++) {
        let neighbour = levels[((first + i) * params.window_width + x) * params.channels + c];
        sum += bitcast<i32>(taps[start + i]) * bitcast<i32>(neighbour);
        exact += bitcast<f32>(taps[start + i]) * bitcast<f32>(neighbour);
    }
    return select(exact, f32(rounded(sum)) * params.scale, params.is_rounded != 0u);
}

@compute @workgroup_size(8, 8)
fn down(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.width || id.y >= params.height {
        return;
    }
    let x = id.x - params.across; // wraps around in front of the window
    let y = id.y - params.down;
    for (var c = 0u; c < params.channels; c++) {
        var level = params.fill[c] * params.scale;
        if x < params.window_width && y < params.window_height {
            level = value(x, y, c);
        }
        let at = ((params.image * params.channels + c) * params.height + id.y) * params.width + id.x;
        pixel_values[at] = (level - params.mean[c]) / params.deviation[c];
    }
}
