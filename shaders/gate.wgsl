// y[r, f] = activation(x[r, f]) * x[r, F + f]: the gate and its values, side by side in x (Shazeer 2020, SwiGLU with SiLU)
// A workgroup BLOCK elements of y. f32 inside.
// Grid: ceil(rows F / BLOCK), folded. Needs nothing. Twin: cpu/gate.rs
#import common/block
#import common/grid
#import common/activation
#import common/x_f32
#import common/y_f32

struct Params {
    rows: u32,
    width: u32, // F
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // [rows, 2 F]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [rows, F]

@compute @workgroup_size(INVOCATIONS)
fn gate(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.rows * params.width); i += INVOCATIONS) {
        let at = i / params.width * 2u * params.width + i % params.width;
        y[i] = narrow(activate(f32(x[at])) * f32(x[at + params.width]));
    }
}
