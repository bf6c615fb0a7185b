// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul.wgsl computes, without workgroup memory.
// The tiles of subgroup_tile.wgsl, 40 x 64 a subgroup; f32 sums in order of k.
// Grid: (ceil(N / 64), ceil(M / 40), 1). Needs subgroups of 8. Twin: cpu/matmul.rs
#import activation
#import rows
#import panel
#import matmul_call
#import subgroup_tile
#import subgroup_block

@compute @workgroup_size(8)
fn matmul_subgroup(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    multiply(wid, lane);
}
