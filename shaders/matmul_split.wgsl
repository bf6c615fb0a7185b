// y[s, m, n] = sum_k x[m, k] * w[n, k], k in the s-th slice of K: what matmul.wgsl adds up, split over workgroups, for few tiles and a large K.
// A tile of ROWS x COLUMNS of y[s] a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), SLICES). Needs 4 TILE_K (ROWS + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul_split.rs
#import rows
#import panel
#import split_call
#import matmul_tile
#import matmul_block

@compute @workgroup_size(INVOCATIONS)
fn matmul_split(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    slice = wid.z;
    compute(wid, lane);
}
