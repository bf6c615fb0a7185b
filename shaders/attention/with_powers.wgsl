// Queries, keys and values in f32, scaled by powers of two. Needs call.wgsl.
const PARTS: u32 = 2u; // of which f16 a value is made

@group(0) @binding(3) var<storage, read> powers: array<f32>; // [B, H, 3]

fn power_of(b: u32, h: u32, part: u32) -> f32 {
    return powers[(b * params.heads + h) * 3u + part];
}
