// p[b, h, i, j] = softmax_j(q[b, first + i, h] . k[b, j, h] / sqrt(D)), then y[b, i, h, :] = sum_j p[b, h, i, j] v[b, j, h]
// Two entry points as one reads the formula; p is stored, for those who want to look at it. f32.
// Grid: B H Q rows, folded; for the values ceil(B N H D / 64), folded. Needs nothing. Twin: cpu/attention_naive.rs
#import common/grid
#import common/reduce
#import common/x_f32
#import attention/unmasked

struct Params {
    batch: u32,
    tokens: u32, // N
    heads: u32, // H
    head: u32, // D
    first: u32, // query that row 0 of p is for
    queries: u32, // Q
    scale: f32, // 1 / sqrt(D)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<X>; // [B, N, 3, H, D]
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // [B, H, Q, N]
@group(0) @binding(3) var<storage, read> weights: array<f32>; // [B, H, N, N], p as the second step reads it
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, N, H, D]

// Where vector `part` (0 query, 1 key, 2 value) of token n begins.
fn start(b: u32, n: u32, part: u32, h: u32) -> u32 {
    return (((b * params.tokens + n) * 3u + part) * params.heads + h) * params.head;
}

@compute @workgroup_size(WORKGROUP)
fn attention_naive_probabilities(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    let i = row % params.queries;
    let h = row / params.queries % params.heads;
    let b = row / (params.queries * params.heads);
    if b >= params.batch {
        return;
    }
    let query = start(b, params.first + i, 0u, h);
    var largest = -3.4028234e38;
    for (var j = lane; j < params.tokens; j += WORKGROUP) {
        let key = start(b, j, 1u, h);
        // Four sums, then one: scores of some hundreds, as large models have, round less often so.
        var sums = vec4<f32>();
        for (var d = 0u; d < params.head; d++) {
            sums[d % 4u] += f32(qkv[query + d]) * f32(qkv[key + d]);
        }
        var score = ((sums.x + sums.y) + (sums.z + sums.w)) * params.scale + bias(h, params.first + i, j);
        if ignored(b, params.first + i, j) {
            score = -3.4028234e38;
        }
        p[row * params.tokens + j] = score;
        largest = max(largest, score);
    }
    largest = workgroup_max(largest, lane);
    var sum = 0.0;
    for (var j = lane; j < params.tokens; j += WORKGROUP) {
        let weight = exp(p[row * params.tokens + j] - largest);
        p[row * params.tokens + j] = weight;
        sum += weight;
    }
    let total = workgroup_sum(sum, lane);
    for (var j = lane; j < params.tokens; j += WORKGROUP) {
        p[row * params.tokens + j] /= total;
    }
}

@compute @workgroup_size(64)
fn attention_naive_values(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let element = fold(wid, count) * 64u + lane;
    let d = element % params.head;
    let h = element / params.head % params.heads;
    let i = element / (params.head * params.heads) % params.tokens;
    let b = element / (params.head * params.heads * params.tokens);
    if b >= params.batch {
        return;
    }
    var sum = 0.0;
    for (var j = 0u; j < params.tokens; j++) {
        sum += weights[((b * params.heads + h) * params.tokens + i) * params.tokens + j] * f32(qkv[start(b, j, 2u, h) + d]);
    }
    y[element] = sum;
}
