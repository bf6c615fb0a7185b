// A photo in fog, which is the denser the farther away it lies.
override METRES: bool = false; // depth is larger for what is farther away; else for what is nearer

const FOG: vec3<f32> = vec3(0.75, 0.78, 0.82);
const PROBES: u32 = 32u; // along each axis, by which the range of depth is found

@group(0) @binding(0) var photo: texture_2d<f32>;
@group(0) @binding(1) var depth: texture_2d<f32>;

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) @interpolate(flat, either) range: vec2<f32>,
}

@vertex
fn cover(@builtin(vertex_index) corner: u32) -> Corner {
    let size = textureDimensions(depth);
    var range = vec2(3.4e38, -3.4e38);
    for (var i = 0u; i < PROBES * PROBES; i++) {
        let value = textureLoad(depth, vec2(i % PROBES, i / PROBES) * (size - 1u) / (PROBES - 1u), 0).r;
        range = vec2(min(range.x, value), max(range.y, value));
    }
    return Corner(vec4(f32(corner & 1u) * 4.0 - 1.0, f32(corner >> 1u) * 4.0 - 1.0, 0.0, 1.0), range);
}

@fragment
fn fog(corner: Corner) -> @location(0) vec4<f32> {
    let texel = vec2<u32>(corner.position.xy);
    let place = (textureLoad(depth, texel, 0).r - corner.range.x) / max(corner.range.y - corner.range.x, 1e-20);
    let far = saturate(select(1.0 - place, place, METRES));
    return vec4(mix(textureLoad(photo, texel, 0).rgb, FOG, 1.0 - exp(-3.0 * far * far)), 1.0);
}
