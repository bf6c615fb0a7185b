// y[b, n, c] = (n < T ? prefix[n, c] : patches[b, n - T, c]) + position[n - skip, c], no position for n < skip
// A workgroup BLOCK elements of y; T prefix tokens, the first `skip` of which have no position. f32.
// Grid: ceil(B N C / BLOCK), folded. Needs nothing. Twin: cpu/embed.rs
#import common/block
#import common/grid

struct Params {
    batch: u32,
    tokens: u32, // N
    width: u32, // C
    prefix: u32, // T
    skip: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<f32>; // [B, N - T, C]
@group(0) @binding(2) var<storage, read> prefix: array<f32>; // [max(T, 1), C]
@group(0) @binding(3) var<storage, read> position: array<f32>; // [N - skip, C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, N, C]

@compute @workgroup_size(INVOCATIONS)
fn embed(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.batch * params.tokens * params.width); i += INVOCATIONS) {
        let c = i % params.width;
        let n = i / params.width % params.tokens;
        let b = i / (params.width * params.tokens);
        var value = 0.0;
        if n < params.prefix {
            value = prefix[n * params.width + c];
        } else {
            value = patches[(b * (params.tokens - params.prefix) + n - params.prefix) * params.width + c];
        }
        if n >= params.skip {
            value += position[(n - params.skip) * params.width + c];
        }
        y[i] = value;
    }
}
