// A query's keys are the tokens up to its own whose mask is 0; the first token of each sequence must be one.
@group(0) @binding(5) var<storage, read> mask: array<f32>; // [B, N]

fn ignored(b: u32, i: u32, j: u32) -> bool {
    return j > i || mask[b * params.tokens + j] != 0.0;
}

fn bias(h: u32, i: u32, j: u32) -> f32 {
    return 0.0;
}
