// For queries and keys of patches: the pair (x[s i], x[s i + gap]) becomes (x[s i] cos - x[s i + gap] sin, x[s i + gap] cos + x[s i] sin), in place (Su et al. 2021)
// One invocation a pair; the first `skip` tokens have no position and stay. f32 inside.
// Grid: ceil(B (N - skip) 2 H D/2 / 64), folded. Needs nothing. Twin: cpu/rotary.rs
#import common/grid
#import common/y_f32

struct Params {
    batch: u32,
    tokens: u32, // N
    heads: u32, // H
    head: u32, // D
    skip: u32,
    step: u32, // s, between the first elements of pairs
    gap: u32, // between the elements of a pair
    turns: u32, // heads with angles of their own, H or 1
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> angles: array<f32>; // [N - skip, turns, D/2, 2], cosine and sine
@group(0) @binding(2) var<storage, read_write> qkv: array<Y>; // [B, N, 3, H, D]

@compute @workgroup_size(64)
fn rotary(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let half = params.head / 2u;
    let element = fold(wid, count) * 64u + lane;
    let i = element % half;
    let h = element / half % params.heads;
    let part = element / (half * params.heads) % 2u;
    let patches = params.tokens - params.skip;
    let p = element / (half * params.heads * 2u) % patches;
    let b = element / (half * params.heads * 2u * patches);
    if b >= params.batch {
        return;
    }
    let at = (((b * params.tokens + params.skip + p) * 3u + part) * params.heads + h) * params.head + params.step * i;
    let angle = (p * params.turns + h % params.turns) * half + i;
    let cosine = angles[angle * 2u];
    let sine = angles[angle * 2u + 1u];
    let low = f32(qkv[at]);
    let high = f32(qkv[at + params.gap]);
    qkv[at] = narrow(low * cosine - high * sine);
    qkv[at + params.gap] = narrow(high * cosine + low * sine);
}
