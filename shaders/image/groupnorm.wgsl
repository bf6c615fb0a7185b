// y[b, c, p] = epilogue((x[b, c, p] - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]), mean and variance over a group of channels (Wu and He 2018)
// One workgroup a group of an image; two passes, the variance from deviations. f32.
// Grid: B G, folded. Needs nothing. Twin: cpu/groupnorm.rs
#import common/grid
#import common/reduce

struct Params {
    rows: u32, // B G
    groups: u32, // G
    channels: u32, // of a group
    pixels: u32, // P
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, G, channels, P]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [G, channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [G, channels]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, G, channels, P]

struct Moments {
    mean: f32,
    factor: f32,
}

fn moments(row: u32, lane: u32) -> Moments {
    let count = params.channels * params.pixels;
    var sum = 0.0;
    for (var i = lane; i < count; i += WORKGROUP) {
        sum += x[row * count + i];
    }
    let mean = workgroup_sum(sum, lane) / f32(count);
    var squares = 0.0;
    for (var i = lane; i < count; i += WORKGROUP) {
        let deviation = x[row * count + i] - mean;
        squares += deviation * deviation;
    }
    let variance = workgroup_sum(squares, lane) / f32(count);
    return Moments(mean, 1.0 / sqrt(variance + params.epsilon)); // inverseSqrt is only an estimate on some drivers
}

fn normalised(row: u32, i: u32, stats: Moments) -> f32 {
    let channel = row % params.groups * params.channels + i / params.pixels;
    return (x[row * params.channels * params.pixels + i] - stats.mean) * stats.factor * weight[channel] + bias[channel];
}

@compute @workgroup_size(WORKGROUP)
fn groupnorm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let stats = moments(row, lane);
    let len = params.channels * params.pixels;
    for (var i = lane; i < len; i += WORKGROUP) {
        y[row * len + i] = normalised(row, i, stats);
    }
}

@compute @workgroup_size(WORKGROUP)
fn groupnorm_relu(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let stats = moments(row, lane);
    let len = params.channels * params.pixels;
    for (var i = lane; i < len; i += WORKGROUP) {
        y[row * len + i] = max(normalised(row, i, stats), 0.0);
    }
}

// Adds to what y holds, the shortcut, before the ReLU.
@compute @workgroup_size(WORKGROUP)
fn groupnorm_residual_relu(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let stats = moments(row, lane);
    let len = params.channels * params.pixels;
    for (var i = lane; i < len; i += WORKGROUP) {
        y[row * len + i] = max(y[row * len + i] + normalised(row, i, stats), 0.0);
    }
}
