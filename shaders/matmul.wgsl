// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]), y a band of columns of a wider matrix.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul.rs
#import activation
#import rows
#import panel
#import matmul_call
#import matmul_tile
#import matmul_block

@compute @workgroup_size(INVOCATIONS)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    compute(wid, lane);
}
