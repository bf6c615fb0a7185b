// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul.wgsl computes, for few rows.
// 4 rows of 64 columns a workgroup, as skinny_block.wgsl has it. f32.
// Grid: (ceil(N / 64), ceil(M / 4), 1). Needs 8 KiB of workgroup memory. Twin: cpu/matmul.rs
#import activation
#import rows
#import panel
#import matmul_call
#import skinny_block

@compute @workgroup_size(128)
fn matmul_skinny(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    compute(wid, lane);
}
