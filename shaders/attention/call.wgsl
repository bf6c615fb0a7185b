// What the kernels of attention are told.
struct Params {
    tokens: u32, // N
    queries: u32, // the first of them, for which y is computed
    heads: u32, // H
    scale: f32, // 1 / sqrt(D)
    batch: u32, // B
}

@group(0) @binding(0) var<uniform> params: Params;
