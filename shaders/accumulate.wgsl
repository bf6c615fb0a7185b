// y[i] += x[i]
// A workgroup BLOCK elements. f32.
// Grid: ceil(len / BLOCK), folded. Needs nothing. Twin: cpu/accumulate.rs
#import common/block
#import common/grid

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [len]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [len]

@compute @workgroup_size(INVOCATIONS)
fn accumulate(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.len); i += INVOCATIONS) {
        y[i] += x[i];
    }
}
