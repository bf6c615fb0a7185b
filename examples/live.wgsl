// A square scene: a photo, or a digit that is being written, as a pen of light on black.
struct Scene {
    origin: vec2<f32>, // of the square, in texels
    size: f32, // of its edges
    points: u32, // of the line
    turn: vec2<f32>, // cosine and sine of how far it is turned
    has_photo: u32,
    line: array<vec4<f32>, 16>, // x, y from 0 to 1; z is 1 where the pen is put down anew
}

@group(0) @binding(0) var<uniform> scene: Scene;
@group(0) @binding(1) var photo: texture_2d<f32>;
@group(0) @binding(2) var smooth_sampler: sampler;

@vertex
fn cover(@builtin(vertex_index) corner: u32) -> @builtin(position) vec4<f32> {
    return vec4(f32(corner & 1u) * 4.0 - 1.0, f32(corner >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn distance_to(at: vec2<f32>, from_: vec2<f32>, to: vec2<f32>) -> f32 {
    let along = to - from_;
    let share = clamp(dot(at - from_, along) / max(dot(along, along), 1e-9), 0.0, 1.0);
    return length(at - from_ - share * along);
}

@fragment
fn draw(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let centred = (position.xy - scene.origin) / scene.size - 0.5;
    let at = vec2(scene.turn.x * centred.x - scene.turn.y * centred.y, scene.turn.y * centred.x + scene.turn.x * centred.y) + 0.5;
    if scene.has_photo != 0u {
        return vec4(textureSampleLevel(photo, smooth_sampler, at, 0.0).rgb, 1.0);
    }
    var nearest = 1.0;
    for (var i = 1u; i < scene.points; i++) {
        if scene.line[i].z == 0.0 {
            nearest = min(nearest, distance_to(at, scene.line[i - 1u].xy, scene.line[i].xy));
        }
    }
    return vec4(vec3(1.0 - smoothstep(0.035, 0.055, nearest)), 1.0);
}
