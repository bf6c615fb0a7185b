// y[s, m, n] = sum_k x[m, k] * w[n, k], k in the s-th slice of K: what matmul_coop16.wgsl adds up, split over workgroups, for few tiles and a large K.
// The tiles of coop_tile.wgsl from cooperative matrices of 16 x 16; f32 sums.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), SLICES). Needs cooperative matrices, and subgroups of LANES. Twin: cpu/matmul_split.rs
enable f16;
enable wgpu_cooperative_matrix;
#import narrow
#import rows_vec4
#import panel_f16_wide
#import split_call
#import coop_16
#import coop_tile

@compute @workgroup_size(INVOCATIONS)
fn matmul_split_coop16(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    slice = wid.z;
    compute(wid, index, subgroup, lane);
}
