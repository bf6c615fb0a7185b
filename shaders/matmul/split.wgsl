// What a product whose K is split over workgroups reads and writes: sums over a SLICES-th of K, which combine.wgsl adds up.
// The file that imports this defines TILE_K, of which slices are made.
const SLICES: u32 = 4u;
const K: u32 = 0u; // if it is known when the pipeline is made; else 0

struct Params {
    m: u32,
    n: u32,
    k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [SLICES, M, N]

fn depth() -> u32 {
    if K > 0u {
        return K;
    }
    return params.k;
}

fn slice_depth() -> u32 {
    return (depth() + SLICES * TILE_K - 1u) / (SLICES * TILE_K) * TILE_K;
}

// The products that are added up: k from first_k() to end_k() - 1, none where K is short.
fn first_k(slice: u32) -> u32 {
    return slice * slice_depth();
}

fn end_k(slice: u32) -> u32 {
    return min(first_k(slice) + slice_depth(), depth());
}

// It is added once, by combine.wgsl.
fn bias_at(n: u32) -> f32 {
    return 0.0;
}

fn finish(slice: u32, m: u32, n: u32, sum: f32) {
    if m < params.m && n < params.n {
        y[(slice * params.m + m) * params.n + n] = sum;
    }
}

fn finish4(slice: u32, m: u32, n: u32, sums: vec4<f32>) {
    finish(slice, m, n, sums.x);
    finish(slice, m, n + 1u, sums.y);
    finish(slice, m, n + 2u, sums.z);
    finish(slice, m, n + 3u, sums.w);
}
