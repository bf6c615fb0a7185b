// Tokens whose mask is not 0 are no keys; at least one of each sequence must be. Needs call.wgsl.
@group(0) @binding(3) var<storage, read> mask: array<f32>; // [B, N]

fn ignored(b: u32, n: u32) -> bool {
    return mask[b * params.tokens + n] != 0.0;
}
