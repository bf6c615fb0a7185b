// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h]: what attention.wgsl computes, with factors in f16.
// The tiles of attention_coop.wgsl from cooperative matrices of 8 x 8; every token is a key.
// Grid: (ceil(queries / QUERIES), H, B). Needs cooperative matrices, subgroups of LANES, and D a multiple of 8. Twin: cpu/attention.rs
enable f16;
enable wgpu_cooperative_matrix;
#import attention_call
#import narrow
#import coop_8
#import attention_coop

@compute @workgroup_size(INVOCATIONS)
fn attention_coop8(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    attend(wid, index, subgroup, lane);
}
