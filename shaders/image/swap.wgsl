// y[o, s, r, i] = x[o, r, s, i]: two axes change places, such as the channels and the pixels of a map
// A workgroup BLOCK elements of y.
// Grid: ceil(outer R S inner / BLOCK), folded. Needs nothing. Twin: cpu/swap.rs
#import common/block
#import common/grid
#import common/x_f32
#import common/y_f32

struct Params {
    outer: u32,
    r: u32, // R
    s: u32, // S
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // [outer, R, S, inner]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [outer, S, R, inner]

@compute @workgroup_size(INVOCATIONS)
fn swap(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    let len = params.outer * params.r * params.s * params.inner;
    for (var element = start + lane; element < min(start + BLOCK, len); element += INVOCATIONS) {
        let i = element % params.inner;
        let r = element / params.inner % params.r;
        let s = element / (params.inner * params.r) % params.s;
        let o = element / (params.inner * params.r * params.s);
        y[element] = narrow(f32(x[((o * params.r + r) * params.s + s) * params.inner + i]));
    }
}
