// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul/tiled.wgsl computes, without workgroup memory.
// The tiles of tile.wgsl, 40 x 64 a subgroup; f32 sums in order of k.
// Grid: (ceil(N / 64), ceil(M / 40), 1). Needs subgroups of 8. Twin: cpu/matmul.rs
#import common/activation
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call
#import software/tile

@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K]

fn rows() -> u32 {
    return params.m;
}

fn start(m: u32) -> u32 {
    return m * params.k;
}

fn load_x(start: u32, k: u32) -> f32 {
    return x[start + k];
}

fn write(m: u32, n: u32, value: f32) {
    finish(0u, m, n, value);
}

@compute @workgroup_size(8)
fn matmul_software(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    multiply(wid, lane);
}
