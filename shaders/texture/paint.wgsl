// A map of an image, patch by patch, drawn over a rectangle of a texture: between the patches' centres colours change linearly.
// A triangle that covers the viewport; an invocation of the fragment shader a texel.
struct Params {
    size: vec2<f32>, // of the rectangle, in texels
    patches: vec2<f32>, // that the rectangle is wide and high
    grid: vec2<u32>, // columns and rows of patches
    start: u32, // of the image's values, in elements
    channels: u32, // of a value: 1 is a place on the scale, 3 are colours
    origin: vec2<f32>, // of the rectangle, in texels
    is_light: u32, // the texture takes light, or encodes it
    opacity: f32,
    scale: array<vec4<f32>, STOPS>, // colours at equal distances; alpha 0 says that there is no scale, and values are written as they are
}

const STOPS: u32 = 256u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>; // [.., rows, columns, channels]

@vertex
fn cover(@builtin(vertex_index) corner: u32) -> @builtin(position) vec4<f32> {
    return vec4(f32(corner & 1u) * 4.0 - 1.0, f32(corner >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn value(at: vec2<u32>) -> vec3<f32> {
    let place = params.start + (at.y * params.grid.x + at.x) * params.channels;
    if params.channels == 3u {
        return vec3(values[place], values[place + 1u], values[place + 2u]);
    }
    return vec3(values[place]);
}

fn on_scale(level: f32) -> vec3<f32> {
    let place = clamp(level, 0.0, 1.0) * f32(STOPS - 1u);
    let below = min(u32(place), STOPS - 2u);
    return mix(params.scale[below].rgb, params.scale[below + 1u].rgb, place - f32(below));
}

fn light(encoded: vec3<f32>) -> vec3<f32> {
    return select(pow((encoded + 0.055) / 1.055, vec3(2.4)), encoded / 12.92, encoded <= vec3(0.04045));
}

@fragment
fn paint(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let last = vec2<f32>(params.grid - 1u);
    let place = clamp((position.xy - params.origin) / params.size * params.patches - 0.5, vec2(0.0), last);
    let low = vec2<u32>(place);
    let high = min(low + 1u, params.grid - 1u);
    let share = place - vec2<f32>(low);
    let top = mix(value(low), value(vec2(high.x, low.y)), share.x);
    let bottom = mix(value(vec2(low.x, high.y)), value(high), share.x);
    var rgb = mix(top, bottom, share.y);
    let has_scale = params.scale[0].a > 0.0;
    if params.channels == 1u && has_scale {
        rgb = on_scale(rgb.x);
    }
    if params.is_light != 0u && (params.channels == 3u || has_scale) {
        rgb = light(rgb);
    }
    return vec4(rgb, params.opacity);
}
