// y[b, column + c] = mean of x[b, n, c] over the `count` tokens from n = first on; for pool_max, the largest
// One invocation an element; f32 sum in order of n. A single token is copied as it is.
// Grid: ceil(B C / 64), folded. Needs nothing. Twin: cpu/pool.rs
#import common/grid

struct Params {
    batch: u32,
    tokens: u32, // N
    width: u32, // C
    first: u32,
    count: u32,
    stride: u32, // columns of y's matrix
    column: u32, // the first that is written
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, N, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, stride]

@compute @workgroup_size(64)
fn pool(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let c = i % params.width;
    let b = i / params.width;
    if b >= params.batch {
        return;
    }
    var sum = 0.0;
    for (var n = params.first; n < params.first + params.count; n++) {
        sum += x[(b * params.tokens + n) * params.width + c];
    }
    y[b * params.stride + params.column + c] = sum / f32(params.count);
}

@compute @workgroup_size(64)
fn pool_max(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let c = i % params.width;
    let b = i / params.width;
    if b >= params.batch {
        return;
    }
    var largest = -3.4028234e38;
    for (var n = params.first; n < params.first + params.count; n++) {
        largest = max(largest, x[(b * params.tokens + n) * params.width + c]);
    }
    y[b * params.stride + params.column + c] = largest;
}
