// y[i] = (a[i] + b[i]) / 2
// One invocation an element. f32.
// Grid: ceil(len / 64), folded. Needs nothing. Twin: cpu/average.rs
#import common/grid

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [len]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [len]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [len]

@compute @workgroup_size(64)
fn average(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    if i < params.len {
        y[i] = (a[i] + b[i]) / 2.0;
    }
}
