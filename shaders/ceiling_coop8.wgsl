// y[t] = 4 STEPS x[t] . x[t], added up product by product: what a device multiplies at the most by cooperative matrices of 8 x 8
// One subgroup a matrix, four chains of STEPS products, x in f16 and sums in f32.
// Grid: len / 8 / 8, folded. Needs cooperative matrices, subgroups of LANES, and len a multiple of 8 x 8. Twin: cpu/ceiling.rs
enable f16;
enable wgpu_cooperative_matrix;
#import grid
#import coop_8
#import ceiling_coop

@compute @workgroup_size(LANES)
fn ceiling_coop8(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    compute(fold(wid, count), lane);
}
