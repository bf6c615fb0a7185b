// y[b, c] = x[b, index[b], c]
// One invocation an element. f32; indices are whole numbers.
// Grid: ceil(B C / 64), folded. Needs nothing. Twin: cpu/gather.rs
#import common/grid

struct Params {
    batch: u32,
    tokens: u32, // N
    width: u32, // C
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, N, C]
@group(0) @binding(2) var<storage, read> index: array<f32>; // [B]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, C]

@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let b = i / params.width;
    if b >= params.batch {
        return;
    }
    let n = min(u32(index[b]), params.tokens - 1u);
    y[i] = x[(b * params.tokens + n) * params.width + i % params.width];
}
