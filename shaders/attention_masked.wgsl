// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h] over the tokens j with mask[b, j] = 0
// The tiles of attention_tile.wgsl; at least one token of each sequence must be a key. f32.
// Grid: (ceil(queries / 64), H, B). Needs 32 KEYS ceil(D / 4) bytes of workgroup memory. Twin: cpu/attention.rs
#import attention_call
#import attention_tile

@group(0) @binding(1) var<storage, read> qkv: array<f32>; // [B, N, 3, H, D]
@group(0) @binding(2) var<storage, read> mask: array<f32>; // [B, N], not 0 where a token is no key
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, queries, H, D]

fn ignored(b: u32, n: u32) -> bool {
    return mask[b * params.tokens + n] != 0.0;
}

@compute @workgroup_size(64)
fn attention_masked(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    attend(wid, lane);
}
