// What a product whose K is split over workgroups writes: sums over each slice of K, which combine.wgsl adds up. Slices are made of whole tiles.
// Needs sizes.wgsl.
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [slices, M, N]

// The products that are added up: k from first_k() to end_k() - 1, none where K is short.
fn first_k(slice: u32) -> u32 {
    return slice * params.slice_depth;
}

fn end_k(slice: u32) -> u32 {
    return min(first_k(slice) + params.slice_depth, depth());
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
