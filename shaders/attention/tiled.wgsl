// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h], q, k and v packed in qkv (Vaswani et al. 2017, equation 1)
// One query an invocation, keys and values in tiles through workgroup memory, online softmax (Milakov and Gimelshein 2018): no N x N matrix. f32 inside.
// Grid: (ceil(queries / 64), H, B). Needs 32 KEYS ceil(D / 4) bytes of workgroup memory. Twin: cpu/attention.rs
#import common/x_f32
#import common/y_f32
#import attention/call
#import attention/unmasked

const HEAD: u32 = 64u; // D
const KEYS: u32 = 32u; // in a tile
const VECTORS: u32 = (HEAD + 3u) / 4u; // of a head's vector, zeros behind its end

@group(0) @binding(1) var<storage, read> qkv: array<X>; // [B, N, 3, H, D]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [B, queries, H, D]

var<workgroup> tile_k: array<vec4<f32>, KEYS * VECTORS>; // [KEYS][VECTORS]
var<workgroup> tile_v: array<vec4<f32>, KEYS * VECTORS>; // [KEYS][VECTORS]

// Where vector `part` (0 query, 1 key, 2 value) of token n begins.
fn start(b: u32, n: u32, part: u32, h: u32) -> u32 {
    return (((b * params.tokens + n) * 3u + part) * params.heads + h) * HEAD;
}

// Elements 4 v to 4 v + 3 of the vector that begins at `at`.
fn load(at: u32, v: u32) -> vec4<f32> {
    var value = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if v * 4u + i < HEAD {
            value[i] = f32(qkv[at + v * 4u + i]);
        }
    }
    return value;
}

@compute @workgroup_size(64)
fn attention_tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = wid.x * 64u + lane;
    let h = wid.y;
    let b = wid.z;
    let live = n < params.queries; // an invocation behind the last query still loads keys for the others
    var query: array<vec4<f32>, VECTORS>;
    var sum: array<vec4<f32>, VECTORS>;
    var scores: array<f32, KEYS>;
    if live {
        let at = start(b, n, 0u, h);
        for (var v = 0u; v < VECTORS; v++) {
            query[v] = load(at, v) * params.scale;
        }
    }
    var largest = -3.4028234e38;
    var total = 0.0;
    for (var first = 0u; first < params.tokens; first += KEYS) {
        let keys = min(KEYS, params.tokens - first);
        for (var i = lane; i < keys * VECTORS; i += 64u) {
            let key = first + i / VECTORS;
            tile_k[i] = load(start(b, key, 1u, h), i % VECTORS);
            tile_v[i] = load(start(b, key, 2u, h), i % VECTORS);
        }
        workgroupBarrier(); // the tiles are whole before they are read
        if live {
            var tile_largest = largest;
            for (var j = 0u; j < keys; j++) {
                var score = 0.0;
                for (var v = 0u; v < VECTORS; v++) {
                    score += dot(query[v], tile_k[j * VECTORS + v]);
                }
                score += bias(h, n, first + j);
                scores[j] = score;
                if !ignored(b, n, first + j) {
                    tile_largest = max(tile_largest, score);
                }
            }
            // What was summed under the old maximum shrinks to the new one.
            let shrink = exp(largest - tile_largest);
            largest = tile_largest;
            total *= shrink;
            for (var v = 0u; v < VECTORS; v++) {
                sum[v] *= shrink;
            }
            for (var j = 0u; j < keys; j++) {
                if !ignored(b, n, first + j) {
                    let weight = exp(scores[j] - largest);
                    total += weight;
                    for (var v = 0u; v < VECTORS; v++) {
                        sum[v] += weight * tile_v[j * VECTORS + v];
                    }
                }
            }
        }
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    if live {
        let at = ((b * params.queries + n) * params.heads + h) * HEAD;
        for (var d = 0u; d < HEAD; d++) {
            y[at + d] = narrow(sum[d / 4u][d % 4u] / total);
        }
    }
}
