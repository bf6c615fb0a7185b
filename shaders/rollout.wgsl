// a[b, i, j] = ([i = j] + mean_h p[b, h, i, j]) / 2, then y[b, i, j] = sum_k a[b, i, k] x[b, k, j] (Abnar and Zuidema 2020, equation 1)
// One invocation an element; neighbours have neighbouring j, so that they read p and x side by side and share a[b, i, k]. f32.
// Grid: ceil(B N N / 64), folded. Needs nothing. Twin: cpu/rollout.rs
#import common/grid

struct Params {
    batch: u32,
    tokens: u32, // N
    heads: u32, // H
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<f32>; // [B, H, N, N]
@group(0) @binding(2) var<storage, read_write> a: array<f32>; // [B, N, N]
@group(0) @binding(3) var<storage, read> mixed: array<f32>; // [B, N, N], a as the product reads it
@group(0) @binding(4) var<storage, read> x: array<f32>; // [B, N, N]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [B, N, N]

@compute @workgroup_size(64)
fn rollout_mix(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let element = fold(wid, count) * 64u + lane;
    let square = params.tokens * params.tokens;
    let b = element / square;
    if b >= params.batch {
        return;
    }
    let at = element % square;
    var sum = 0.0;
    for (var h = 0u; h < params.heads; h++) {
        sum += p[(b * params.heads + h) * square + at];
    }
    let own = select(0.0, 1.0, at % params.tokens == at / params.tokens);
    a[element] = 0.5 * (own + sum / f32(params.heads));
}

@compute @workgroup_size(64)
fn rollout_product(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let element = fold(wid, count) * 64u + lane;
    let row = element / params.tokens;
    let b = row / params.tokens;
    if b >= params.batch {
        return;
    }
    let j = element % params.tokens;
    var sum = 0.0;
    for (var k = 0u; k < params.tokens; k++) {
        sum += mixed[row * params.tokens + k] * x[(b * params.tokens + k) * params.tokens + j];
    }
    y[element] = sum;
}
