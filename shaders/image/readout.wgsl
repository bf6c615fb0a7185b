// y[b, p] = x[b, skip + p], or that plus x[b, 0], or both side by side: the patches of tokens, with the class token (Ranftl et al. 2021, section 3.1)
// A workgroup BLOCK elements of y. f32 inside.
// Grid: ceil(B P width / BLOCK), folded. Needs nothing. Twin: cpu/readout.rs
#import common/block
#import common/grid
#import common/x_f32
#import common/y_f32

const READOUT: u32 = 0u; // 0 without the class token, 1 plus it, 2 with it behind the patch

struct Params {
    batch: u32,
    tokens: u32, // N
    skip: u32, // tokens in front of the patches
    channels: u32, // C
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // [B, N, C]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [B, N - skip, C], or [B, N - skip, 2 C]

@compute @workgroup_size(INVOCATIONS)
fn readout(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    let width = select(params.channels, 2u * params.channels, READOUT == 2u);
    let patches = params.tokens - params.skip;
    for (var element = start + lane; element < min(start + BLOCK, params.batch * patches * width); element += INVOCATIONS) {
        let c = element % width;
        let p = element / width % patches;
        let first = element / (width * patches) * params.tokens;
        var value = 0.0;
        if c < params.channels {
            value = f32(x[(first + params.skip + p) * params.channels + c]);
        }
        if READOUT == 1u || c >= params.channels {
            value += f32(x[first * params.channels + c % params.channels]);
        }
        y[element] = narrow(value);
    }
}
