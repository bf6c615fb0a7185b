// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul.wgsl computes, with w and x in f16 and K a multiple of 4.
// The tiles of coop_tile.wgsl from cooperative matrices of 16 x 16; f32 sums.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs cooperative matrices, and subgroups of LANES. Twin: cpu/matmul.rs
enable f16;
enable wgpu_cooperative_matrix;
#import activation
#import narrow
#import rows_vec4
#import panel_f16_wide
#import matmul_call
#import coop_16
#import coop_tile

@compute @workgroup_size(INVOCATIONS)
fn matmul_coop16(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    compute(wid, index, subgroup, lane);
}
