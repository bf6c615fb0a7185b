// What a product whose K is split over workgroups reads and writes: sums over a SLICES-th of K, which matmul_combine adds up.
// Needs matmul_tile.wgsl or coop_tile.wgsl, whose TILE_K is what a slice is made of. The entry point sets `slice`.
const SLICES: u32 = 4u;

struct Params {
    m: u32,
    n: u32,
    k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [SLICES, M, N]

var<private> slice: u32;

fn depth() -> u32 {
    return (params.k + SLICES * TILE_K - 1u) / (SLICES * TILE_K) * TILE_K;
}

fn first_k() -> u32 {
    return slice * depth();
}

fn end_k() -> u32 {
    return min(first_k() + depth(), params.k);
}

// It is added once, by matmul_combine.
fn bias_at(n: u32) -> f32 {
    return 0.0;
}

fn finish(m: u32, n: u32, value: f32) {
    if m < params.m && n < params.n {
        y[(slice * params.m + m) * params.n + n] = value;
    }
}
