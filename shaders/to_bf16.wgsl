// y[r, i] = x[r, 2 i] and x[r, 2 i + 1] in bf16, the first in the lower half of the word; ties to even, zero behind the row's end.
// A word an invocation, by integers: the bits of an f32 are those of bf16 and 16 more.
// Grid: ceil(M ceil(K / 2) / BLOCK), folded. Needs nothing. Twin: cpu/to_bf16.rs
#import common/block
#import common/grid

struct Params {
    rows: u32, // M
    width: u32, // K
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [M, K] of f32
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // [M, ceil(K / 2)]

// The nearest bf16; of NaN, whose bits could be rounded to those of infinity, one that stays NaN.
fn nearest(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

@compute @workgroup_size(INVOCATIONS)
fn to_bf16(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let words = (params.width + 1u) / 2u;
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.rows * words); i += INVOCATIONS) {
        let column = i % words * 2u;
        let from_x = i / words * params.width + column;
        var word = nearest(x[from_x]);
        if column + 1u < params.width {
            word |= nearest(x[from_x + 1u]) << 16u;
        }
        y[i] = word;
    }
}
