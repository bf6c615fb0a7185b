// y[r, :] = exp(x[r, :] - max) / sum of the same
// One workgroup a row; the maximum is subtracted, so that no exponential overflows. f32.
// Grid: rows, folded. Needs nothing. Twin: cpu/softmax.rs
#import common/grid
#import common/reduce

struct Params {
    rows: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, width]

@compute @workgroup_size(WORKGROUP)
fn softmax(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var largest = -3.4028234e38;
    for (var i = lane; i < params.width; i += WORKGROUP) {
        largest = max(largest, x[start + i]);
    }
    largest = workgroup_max(largest, lane);
    var sum = 0.0;
    for (var i = lane; i < params.width; i += WORKGROUP) {
        sum += exp(x[start + i] - largest);
    }
    let total = workgroup_sum(sum, lane);
    for (var i = lane; i < params.width; i += WORKGROUP) {
        y[start + i] = exp(x[start + i] - largest) / total;
    }
}
