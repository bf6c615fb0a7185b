// y[b, h, :] = sum_j softmax_j(q[h] . k[b, j, h] / sqrt(D)) v[b, j, h] over the tokens from j = first on, k and v packed in kv
// One workgroup a head; a tile of tokens at a time, one score an invocation, online softmax (Milakov and Gimelshein 2018). f32.
// Grid: (H, B, 1). Needs nothing. Twin: cpu/attention_pool.rs
#import common/reduce
#import attention/unmasked

const HEAD: u32 = 64u; // D
const SLOTS: u32 = (HEAD + WORKGROUP - 1u) / WORKGROUP; // values of y that an invocation adds up

struct Params {
    tokens: u32, // N
    heads: u32, // H
    first: u32,
    scale: f32, // 1 / sqrt(D)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>; // [H, D]
@group(0) @binding(2) var<storage, read> kv: array<f32>; // [B, N, 2, H, D]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, H, D]

var<workgroup> tile_weights: array<f32, WORKGROUP>; // of a tile's tokens

// Where vector `part` (0 key, 1 value) of token n begins.
fn start(b: u32, n: u32, part: u32, h: u32) -> u32 {
    return (((b * params.tokens + n) * 2u + part) * params.heads + h) * HEAD;
}

@compute @workgroup_size(WORKGROUP)
fn attention_pool(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = wid.x;
    let b = wid.y;
    var sum: array<f32, SLOTS>;
    var largest = -3.4028234e38;
    var total = 0.0;
    for (var tile = params.first; tile < params.tokens; tile += WORKGROUP) {
        let n = tile + lane;
        var score = -3.4028234e38;
        if n < params.tokens && !ignored(b, 0u, n) {
            let at = start(b, n, 0u, h);
            score = 0.0;
            for (var d = 0u; d < HEAD; d++) {
                score += q[h * HEAD + d] * kv[at + d];
            }
            score *= params.scale;
        }
        let tile_largest = max(largest, workgroup_max(score, lane));
        // What was summed under the old maximum shrinks to the new one.
        let shrink = exp(largest - tile_largest);
        largest = tile_largest;
        let weight = exp(score - largest); // 0 behind the last token
        tile_weights[lane] = weight;
        total = total * shrink + workgroup_sum(weight, lane); // its barriers also make the tile whole
        for (var slot = 0u; slot < SLOTS; slot++) {
            let d = slot * WORKGROUP + lane;
            sum[slot] *= shrink;
            if d < HEAD {
                for (var j = 0u; j < min(WORKGROUP, params.tokens - tile); j++) {
                    sum[slot] += tile_weights[j] * kv[start(b, tile + j, 1u, h) + d];
                }
            }
        }
        workgroupBarrier(); // the weights are read before the next tile overwrites them
    }
    for (var slot = 0u; slot < SLOTS; slot++) {
        let d = slot * WORKGROUP + lane;
        if d < HEAD {
            y[(b * params.heads + h) * HEAD + d] = sum[slot] / total;
        }
    }
}
