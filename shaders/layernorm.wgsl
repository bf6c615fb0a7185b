// y[r, c] = (x[r, c] - mean) / sqrt(variance + epsilon) * weight[c] + bias[c] (Ba, Kiros and Hinton 2016, equation 4); for rmsnorm, x[r, c] / sqrt(mean of squares + epsilon) * weight[c] (Zhang and Sennrich 2019, equation 4)
// One workgroup a row; two passes, the variance from deviations, because E[x^2] - E[x]^2 cancels when the mean is large. f32 inside.
// Grid: rows, folded. Needs nothing. Twin: cpu/layernorm.rs
#import common/grid
#import common/reduce
#import common/y_f32

struct Params {
    rows: u32,
    width: u32, // C
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [C]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [C]
@group(0) @binding(4) var<storage, read_write> y: array<Y>; // [rows, C]

@compute @workgroup_size(WORKGROUP)
fn layernorm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var sum = 0.0;
    for (var c = lane; c < params.width; c += WORKGROUP) {
        sum += x[start + c];
    }
    let mean = workgroup_sum(sum, lane) / f32(params.width);
    var squares = 0.0;
    for (var c = lane; c < params.width; c += WORKGROUP) {
        let deviation = x[start + c] - mean;
        squares += deviation * deviation;
    }
    let variance = workgroup_sum(squares, lane) / f32(params.width);
    let factor = 1.0 / sqrt(variance + params.epsilon); // inverseSqrt is only an estimate on some drivers
    for (var c = lane; c < params.width; c += WORKGROUP) {
        y[start + c] = narrow((x[start + c] - mean) * factor * weight[c] + bias[c]);
    }
}

@compute @workgroup_size(WORKGROUP)
fn rmsnorm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var squares = 0.0;
    for (var c = lane; c < params.width; c += WORKGROUP) {
        squares += x[start + c] * x[start + c];
    }
    let factor = 1.0 / sqrt(workgroup_sum(squares, lane) / f32(params.width) + params.epsilon);
    for (var c = lane; c < params.width; c += WORKGROUP) {
        y[start + c] = narrow(x[start + c] * factor * weight[c]);
    }
}
