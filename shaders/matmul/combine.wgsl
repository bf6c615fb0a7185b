// y[m, n] = epilogue(sum_s x[s, m, n] + bias[n]): the end of a product whose K was split over workgroups.
// A workgroup BLOCK elements; f32.
// Grid: ceil(M N / BLOCK), folded. Needs nothing. Twin: cpu/matmul_split.rs
#import common/activation
#import common/block
#import common/grid
#import common/y_f32
#import matmul/sizes
#import matmul/call

const SLICES: u32 = 4u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [SLICES, M, N]

@compute @workgroup_size(INVOCATIONS)
fn matmul_combine(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.m * params.n); i += INVOCATIONS) {
        var sum = 0.0;
        for (var s = 0u; s < SLICES; s++) {
            sum += x[s * params.m * params.n + i];
        }
        finish(0u, i / params.n, i % params.n, sum + bias_at(i % params.n));
    }
}
