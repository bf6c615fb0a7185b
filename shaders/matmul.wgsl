// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]), y a band of columns of a wider matrix.
// A 64 x 64 tile of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / 64), ceil(M / 64), 1). Needs 8 KiB of workgroup memory. Twin: cpu/matmul.rs
#import matmul_tile
#import activation

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
@group(0) @binding(4) var<storage, read> scale: array<f32>; // [N]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [M, stride]

fn load_x(m: u32, k: u32) -> f32 {
    if m < params.m && k < params.k {
        return x[m * params.k + k];
    }
    return 0.0;
}

fn load_w(n: u32, k: u32) -> f32 {
    if n < params.n && k < params.k {
        return w[n * params.k + k];
    }
    return 0.0;
}

fn inside(at: vec2<u32>) -> bool {
    return at.x < params.m && at.y < params.n;
}

fn place(at: vec2<u32>) -> u32 {
    return at.x * params.stride + params.first + at.y;
}

@compute @workgroup_size(64)
fn matmul_bias(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, params.k);
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        if inside(at) {
            y[place(at)] = element(&sums, i) + bias[at.y];
        }
    }
}

@compute @workgroup_size(64)
fn matmul_bias_activation(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, params.k);
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        if inside(at) {
            y[place(at)] = activate(element(&sums, i) + bias[at.y]);
        }
    }
}

// Adds to what y holds: the residual connection, in place.
@compute @workgroup_size(64)
fn matmul_bias_residual(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, params.k);
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        if inside(at) {
            y[place(at)] += element(&sums, i) + bias[at.y];
        }
    }
}

// The same with LayerScale's factor for each column.
@compute @workgroup_size(64)
fn matmul_bias_scale_residual(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, params.k);
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        if inside(at) {
            y[place(at)] += scale[at.y] * (element(&sums, i) + bias[at.y]);
        }
    }
}
