// Tokens whose mask is not 0 are no keys; at least one of each sequence must be.
@group(0) @binding(5) var<storage, read> mask: array<f32>; // [B, N]

fn ignored(b: u32, i: u32, j: u32) -> bool {
    return mask[b * params.tokens + j] != 0.0;
}

fn bias(h: u32, i: u32, j: u32) -> f32 {
    return 0.0;
}
