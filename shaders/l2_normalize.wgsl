// y[r, :] = x[r, :] / |x[r, :]|, the Euclidean norm
// One workgroup a row. f32.
// Grid: rows, folded. Needs nothing. Twin: cpu/l2_normalize.rs
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
fn l2_normalize(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var squares = 0.0;
    for (var i = lane; i < params.width; i += WORKGROUP) {
        squares += x[start + i] * x[start + i];
    }
    let length = sqrt(workgroup_sum(squares, lane));
    for (var i = lane; i < params.width; i += WORKGROUP) {
        y[start + i] = x[start + i] / length;
    }
}
