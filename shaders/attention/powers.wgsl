// y[b, h, i] = the power of two that brings the largest magnitude of all queries (i = 0), keys (1) or values (2) of head h to between 2^12 and 2^13.
// A workgroup a head and a part.
// Grid: 3 B H, folded. Needs nothing. Twin: cpu/powers.rs
#import common/grid
#import common/power
#import common/reduce
#import attention/call

const HEAD: u32 = 64u; // D, a multiple of 4

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>; // [B, N, 3, H, D / 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, H, 3]

@compute @workgroup_size(WORKGROUP)
fn attention_powers(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = fold(wid, count);
    let b = number / (3u * params.heads);
    if b >= params.batch {
        return;
    }
    let h = number / 3u % params.heads;
    var largest = vec4<f32>();
    for (var i = lane; i < params.tokens * (HEAD / 4u); i += WORKGROUP) {
        let n = b * params.tokens + i / (HEAD / 4u);
        largest = max(largest, abs(qkv[((n * 3u + number % 3u) * params.heads + h) * (HEAD / 4u) + i % (HEAD / 4u)]));
    }
    let most = workgroup_max(max(max(largest.x, largest.y), max(largest.z, largest.w)), lane);
    if lane == 0u {
        y[number] = power(most);
    }
}
