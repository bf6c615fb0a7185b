// y[r, f] = activation(x[r, f]) * x[r, F + f]: the gate and its values, side by side in x (Shazeer 2020, SwiGLU with SiLU)
// One invocation an element of y. f32 inside.
// Grid: ceil(rows F / 64), folded. Needs nothing. Twin: cpu/gate.rs
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

@compute @workgroup_size(64)
fn gate(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let f = i % params.width;
    let row = i / params.width;
    if row >= params.rows {
        return;
    }
    let at = row * 2u * params.width + f;
    y[i] = narrow(activate(f32(x[at])) * f32(x[at + params.width]));
}
