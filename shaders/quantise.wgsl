// y[r, i] = the integers nearest to x[r, 4 i .. 4 i + 3] / scale[r], scale[r] = max_k |x[r, k]| / 127
// One workgroup a row: the maximum, then the words; zeros behind the row's end, and the scale's bits in its last word.
// Grid: rows, folded. Needs nothing. Twin: cpu/quantise.rs
#import common/grid
#import common/reduce

struct Params {
    rows: u32, // M
    width: u32, // K
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K]
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // [M, ceil(K / 4) + 1]

@compute @workgroup_size(WORKGROUP)
fn quantise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = fold(wid, count);
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var largest = 0.0;
    for (var k = lane; k < params.width; k += WORKGROUP) {
        largest = max(largest, abs(x[start + k]));
    }
    let scale = workgroup_max(largest, lane) / 127.0;
    let words = (params.width + 3u) / 4u;
    for (var i = lane; i < words; i += WORKGROUP) {
        var integers = vec4<i32>();
        for (var part = 0u; part < 4u; part++) {
            let k = i * 4u + part;
            if k < params.width && scale > 0.0 {
                integers[part] = i32(clamp(round(x[start + k] / scale), -127.0, 127.0));
            }
        }
        y[row * (words + 1u) + i] = pack4xI8(integers);
    }
    if lane == 0u {
        y[row * (words + 1u) + words] = bitcast<u32>(scale);
    }
}
