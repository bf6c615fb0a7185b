// ceiling_copy: y[i] = x[i]; ceiling_multiply: y[i] = sum of the components of 4 vectors s after STEPS times s = s x[i] + x[i], from s = 0, 1, 2 and 3
// One invocation four elements; what a device moves and what it multiplies at the most, to hold other kernels against. f32.
// Grid: ceil(len / 1024), folded. Needs len to be a multiple of 4. Twin: cpu/ceiling.rs
#import common/grid

const STEPS: u32 = 256u;

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [len / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [len / 4]

@compute @workgroup_size(256)
fn ceiling_copy(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 256u + lane;
    if i < params.len / 4u {
        y[i] = x[i];
    }
}

@compute @workgroup_size(256)
fn ceiling_multiply(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 256u + lane;
    if i >= params.len / 4u {
        return;
    }
    let factor = x[i];
    var a = vec4(0.0);
    var b = vec4(1.0);
    var c = vec4(2.0);
    var d = vec4(3.0);
    for (var step = 0u; step < STEPS; step++) {
        a = fma(a, factor, factor);
        b = fma(b, factor, factor);
        c = fma(c, factor, factor);
        d = fma(d, factor, factor);
    }
    y[i] = a + b + c + d;
}
