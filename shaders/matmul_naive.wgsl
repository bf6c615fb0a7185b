// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n]: what matmul.wgsl computes, as one reads it.
// One invocation an element of y; f32 sum in order of k.
// Grid: ceil(M * N / 64), folded. Needs nothing. Twin: cpu/matmul.rs
#import grid

struct Params {
    m: u32,
    n: u32,
    k: u32,
    stride: u32, // columns of y's matrix
    first: u32, // y's first column in it
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K]
@group(0) @binding(2) var<storage, read> w: array<f32>; // [N, K]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [N]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [M, stride]

@compute @workgroup_size(64)
fn matmul_naive(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let m = i / params.n;
    let n = i % params.n;
    if m >= params.m {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < params.k; k++) {
        sum += x[m * params.k + k] * w[n * params.k + k];
    }
    y[m * params.stride + params.first + n] = sum + bias[n];
}
