// q[b, n, h, :] and k[b, n, h, :] become (x - mean) / sqrt(variance + epsilon) * weight + bias, each over its D values, in place; for qk_rmsnorm, x / sqrt(mean of squares + epsilon) * weight
// One invocation a vector; two passes, the variance from deviations. f32 inside.
// Grid: ceil(2 B N H / 64), folded. Needs nothing. Twin: cpu/qk_norm.rs
#import common/grid
#import common/y_f32

struct Params {
    rows: u32, // B N
    heads: u32, // H
    head: u32, // D
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q_weight: array<f32>; // [D]
@group(0) @binding(2) var<storage, read> q_bias: array<f32>; // [D]
@group(0) @binding(3) var<storage, read> k_weight: array<f32>; // [D]
@group(0) @binding(4) var<storage, read> k_bias: array<f32>; // [D]
@group(0) @binding(5) var<storage, read_write> qkv: array<Y>; // [B, N, 3, H, D]

@compute @workgroup_size(64)
fn qk_norm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let h = i % params.heads;
    let part = i / params.heads % 2u;
    let row = i / (params.heads * 2u);
    if row >= params.rows {
        return;
    }
    let start = ((row * 3u + part) * params.heads + h) * params.head;
    var sum = 0.0;
    for (var d = 0u; d < params.head; d++) {
        sum += f32(qkv[start + d]);
    }
    let mean = sum / f32(params.head);
    var squares = 0.0;
    for (var d = 0u; d < params.head; d++) {
        let deviation = f32(qkv[start + d]) - mean;
        squares += deviation * deviation;
    }
    let factor = 1.0 / sqrt(squares / f32(params.head) + params.epsilon); // inverseSqrt is only an estimate on some drivers
    for (var d = 0u; d < params.head; d++) {
        let normal = (f32(qkv[start + d]) - mean) * factor;
        if part == 0u {
            qkv[start + d] = narrow(normal * q_weight[d] + q_bias[d]);
        } else {
            qkv[start + d] = narrow(normal * k_weight[d] + k_bias[d]);
        }
    }
}

@compute @workgroup_size(64)
fn qk_rmsnorm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let h = i % params.heads;
    let part = i / params.heads % 2u;
    let row = i / (params.heads * 2u);
    if row >= params.rows {
        return;
    }
    let start = ((row * 3u + part) * params.heads + h) * params.head;
    var squares = 0.0;
    for (var d = 0u; d < params.head; d++) {
        squares += f32(qkv[start + d]) * f32(qkv[start + d]);
    }
    let factor = 1.0 / sqrt(squares / f32(params.head) + params.epsilon);
    for (var d = 0u; d < params.head; d++) {
        let weight = select(k_weight[d], q_weight[d], part == 0u);
        qkv[start + d] = narrow(f32(qkv[start + d]) * factor * weight);
    }
}
