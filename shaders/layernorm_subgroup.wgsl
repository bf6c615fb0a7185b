// y[r, c] = (x[r, c] - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]: what layernorm.wgsl computes, without workgroup memory; and its rmsnorm.
// One subgroup a row, four elements an invocation at a time; two passes, the variance from deviations. f32 inside.
// Grid: ceil(rows / ROWS), folded. Needs subgroups of LANES, and C a multiple of 4. Twin: cpu/layernorm.rs
#import common/grid
#import common/y_f32

const LANES: u32 = 8u; // of a subgroup
const ROWS: u32 = 1u; // of a workgroup

struct Params {
    rows: u32,
    width: u32, // C
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [rows, C / 4]
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>; // [C / 4]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>; // [C / 4]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Y>>; // [rows, C / 4]

fn total(values: vec4<f32>) -> f32 {
    return subgroupAdd(values.x + values.y + values.z + values.w);
}

@compute @workgroup_size(LANES * ROWS)
fn layernorm_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = fold(wid, count) * ROWS + subgroup;
    if row >= params.rows {
        return;
    }
    let vectors = params.width / 4u;
    let start = row * vectors;
    var sums = vec4<f32>();
    for (var v = lane; v < vectors; v += LANES) {
        sums += x[start + v];
    }
    let mean = total(sums) / f32(params.width);
    var squares = vec4<f32>();
    for (var v = lane; v < vectors; v += LANES) {
        let deviation = x[start + v] - mean;
        squares += deviation * deviation;
    }
    let variance = total(squares) / f32(params.width);
    let factor = 1.0 / sqrt(variance + params.epsilon); // inverseSqrt is only an estimate on some drivers
    for (var v = lane; v < vectors; v += LANES) {
        y[start + v] = narrow4((x[start + v] - mean) * factor * weight[v] + bias[v]);
    }
}

@compute @workgroup_size(LANES * ROWS)
fn rmsnorm_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = fold(wid, count) * ROWS + subgroup;
    if row >= params.rows {
        return;
    }
    let vectors = params.width / 4u;
    let start = row * vectors;
    var squares = vec4<f32>();
    for (var v = lane; v < vectors; v += LANES) {
        squares += x[start + v] * x[start + v];
    }
    let factor = 1.0 / sqrt(total(squares) / f32(params.width) + params.epsilon);
    for (var v = lane; v < vectors; v += LANES) {
        y[start + v] = narrow4(x[start + v] * factor * weight[v]);
    }
}
