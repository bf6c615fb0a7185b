// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h]: what tiled.wgsl computes, by cooperative matrices; qkv and probabilities in f16, D a multiple of 4.
// SIDE queries a subgroup, keys and values in tiles through workgroup memory; sums of the result stay in matrices, and shrink, through workgroup memory, only when the maximum of a row has grown by more than 2^8 (online softmax, Milakov and Gimelshein 2018, with the maximum that is subtracted lagging); f32 sums.
// Grid: (ceil(queries / QUERIES), H, B). Needs cooperative matrices, and subgroups of LANES, SIDE or a multiple up to 4 SIDE. Twin: cpu/attention.rs
#import common/y_f32
#import common/coop_16
#import attention/call

const HEAD: u32 = 64u; // D
const LANES: u32 = 32u; // of a subgroup
const SUBGROUPS: u32 = 4u;
const KEYS: u32 = 32u; // in a tile, a multiple of SIDE
const INVOCATIONS: u32 = LANES * SUBGROUPS;
const QUERIES: u32 = SIDE * SUBGROUPS;
const HEAD_MATRICES: u32 = (HEAD + SIDE - 1u) / SIDE; // matrices that a head's vectors are cut into, zeros behind their end
const KEY_MATRICES: u32 = KEYS / SIDE;
// A row of scores is shared by so many lanes, each of which has VECTORS of them.
const SHARERS: u32 = LANES / SIDE;
const VECTORS: u32 = KEYS / 4u / SHARERS;
// Rows in workgroup memory, in vec4, with 16 bytes behind each so that neighbours lie in other banks.
const STRIDE: u32 = HEAD_MATRICES * SIDE / 4u + 2u;
const SCORES_STRIDE: u32 = KEYS / 4u + 1u;
const P_STRIDE: u32 = KEYS / 4u + 2u;
const LOWEST: f32 = -1e30;

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f16>>; // [B, N, 3, H, D / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>; // [B, queries, H, D / 4]

var<workgroup> tile_k: array<vec4<f16>, KEYS * STRIDE>; // [KEYS][STRIDE]
var<workgroup> tile_v: array<vec4<f16>, KEYS * STRIDE>; // [KEYS][STRIDE]
var<workgroup> tile_scores: array<vec4<f32>, QUERIES * SCORES_STRIDE>; // [QUERIES][SCORES_STRIDE]; also what sums pass through
var<workgroup> tile_p: array<vec4<f16>, QUERIES * P_STRIDE>; // [QUERIES][P_STRIDE]; also what queries pass through
var<workgroup> tile_grown: array<u32, 2>; // whether a maximum has grown, in this turn and the next

// Elements 4 v to 4 v + 3 of vector `part` (0 query, 1 key, 2 value) of token n, or of the last token; zeros behind the vector's end.
fn load(b: u32, n: u32, part: u32, h: u32, v: u32) -> vec4<f16> {
    if HEAD % SIDE == 0u || v < HEAD / 4u {
        return qkv[(((b * params.tokens + min(n, params.tokens - 1u)) * 3u + part) * params.heads + h) * (HEAD / 4u) + v];
    }
    return vec4<f16>();
}

// The largest value, and the sum, of those that the sharers of a row have.
fn row_max(value: f32) -> f32 {
    var largest = value;
    if SHARERS > 1u {
        largest = max(largest, subgroupShuffleXor(largest, 1u));
    }
    if SHARERS > 2u {
        largest = max(largest, subgroupShuffleXor(largest, 2u));
    }
    return largest;
}

fn row_sum(value: f32) -> f32 {
    var sum = value;
    if SHARERS > 1u {
        sum += subgroupShuffleXor(sum, 1u);
    }
    if SHARERS > 2u {
        sum += subgroupShuffleXor(sum, 2u);
    }
    return sum;
}

@compute @workgroup_size(INVOCATIONS)
fn attention_cooperative(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let h = wid.y;
    let b = wid.z;
    let own = subgroup * SIDE; // the subgroup's first row in the tiles
    let row = own + lane / SHARERS;
    let share = lane % SHARERS;
    let first_score = row * SCORES_STRIDE + share * VECTORS;
    let scores_place = own * SCORES_STRIDE;
    var query: array<Left, HEAD_MATRICES>;
    var sums: array<Sum, HEAD_MATRICES>;
    #unroll
    for (var d = 0u; d < HEAD_MATRICES; d++) {
        workgroupBarrier(); // the slice before is read
        for (var i = lane; i < SIDE * SIDE / 4u; i += LANES) {
            let n = wid.x * QUERIES + own + i / (SIDE / 4u);
            tile_p[(own + i / (SIDE / 4u)) * P_STRIDE + i % (SIDE / 4u)] = load(b, n, 0u, h, d * SIDE / 4u + i % (SIDE / 4u));
        }
        workgroupBarrier(); // this one is whole
        let at = own * P_STRIDE;
        query[d] = coopLoadT<Left>(&tile_p[at], P_STRIDE);
    }
    if index < 2u {
        tile_grown[index] = 0u;
    }
    // Of the row, scores in units of log2: what is subtracted, and the sum of the powers so far that this lane has seen.
    let scale = params.scale * 1.4426950408889634;
    var largest = LOWEST;
    var total = 0.0;
    var turn = 0u;
    var scores: array<vec4<f32>, VECTORS>;
    for (var first = 0u; first < params.tokens; first += KEYS) {
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
        for (var i = index; i < KEYS * HEAD_MATRICES * SIDE / 4u; i += INVOCATIONS) {
            let key = i / (HEAD_MATRICES * SIDE / 4u);
            let v = i % (HEAD_MATRICES * SIDE / 4u);
            tile_k[key * STRIDE + v] = load(b, first + key, 1u, h, v);
            tile_v[key * STRIDE + v] = load(b, first + key, 2u, h, v);
        }
        workgroupBarrier(); // the tiles are whole before they are read
        #unroll
        for (var j = 0u; j < KEY_MATRICES; j++) {
            var products = Sum();
            #unroll
            for (var d = 0u; d < HEAD_MATRICES; d++) {
                // Keys lie in rows, and are the columns of the right factor.
                let at = j * SIDE * STRIDE + d * SIDE / 4u;
                products = coopMultiplyAdd(query[d], coopLoad<Right>(&tile_k[at], STRIDE), products);
            }
            let at = scores_place + j * SIDE / 4u;
            coopStoreT(products, &tile_scores[at], SCORES_STRIDE);
        }
        workgroupBarrier(); // the scores are whole
        var tile_largest = LOWEST;
        #unroll
        for (var i = 0u; i < VECTORS; i++) {
            let key = first + (share * VECTORS + i) * 4u;
            let is_key = vec4(key, key + 1u, key + 2u, key + 3u) < vec4(params.tokens);
            scores[i] = select(vec4(LOWEST), tile_scores[first_score + i] * scale, is_key);
            tile_largest = max(tile_largest, max(max(scores[i].x, scores[i].y), max(scores[i].z, scores[i].w)));
        }
        tile_largest = row_max(tile_largest);
        largest = select(largest, tile_largest, first == 0u); // nothing is summed yet
        if tile_largest > largest + 8.0 {
            tile_grown[turn] = 1u;
        }
        let has_grown = workgroupUniformLoad(&tile_grown[turn]);
        if index == 0u {
            tile_grown[1u - turn] = 0u;
        }
        turn = 1u - turn;
        if has_grown == 1u {
            let shrink = exp2(largest - max(largest, tile_largest));
            largest = max(largest, tile_largest);
            total *= shrink;
            #unroll
            for (var d = 0u; d < HEAD_MATRICES; d++) {
                coopStoreT(sums[d], &tile_scores[scores_place], SCORES_STRIDE);
                workgroupBarrier(); // the sums are whole
                for (var i = share; i < SIDE / 4u; i += SHARERS) {
                    tile_scores[row * SCORES_STRIDE + i] *= shrink;
                }
                workgroupBarrier(); // they have shrunk
                sums[d] = coopLoadT<Sum>(&tile_scores[scores_place], SCORES_STRIDE);
                workgroupBarrier(); // they are read before the next ones overwrite them
            }
        }
        #unroll
        for (var i = 0u; i < VECTORS; i++) {
            let powers = vec4<f16>(exp2(scores[i] - largest));
            total += dot(vec4<f32>(powers), vec4(1.0));
            tile_p[row * P_STRIDE + share * VECTORS + i] = powers;
        }
        workgroupBarrier(); // the powers are whole
        #unroll
        for (var j = 0u; j < KEY_MATRICES; j++) {
            let at_p = own * P_STRIDE + j * SIDE / 4u;
            let powers = coopLoadT<Left>(&tile_p[at_p], P_STRIDE);
            #unroll
            for (var d = 0u; d < HEAD_MATRICES; d++) {
                let at = j * SIDE * STRIDE + d * SIDE / 4u;
                sums[d] = coopMultiplyAdd(powers, coopLoadT<Right>(&tile_v[at], STRIDE), sums[d]);
            }
        }
    }
    let whole = row_sum(total);
    let n = wid.x * QUERIES + row;
    #unroll
    for (var d = 0u; d < HEAD_MATRICES; d++) {
        workgroupBarrier(); // the slice before is read
        coopStoreT(sums[d], &tile_scores[scores_place], SCORES_STRIDE);
        workgroupBarrier(); // this one is whole
        for (var i = share; i < SIDE / 4u; i += SHARERS) {
            let v = d * SIDE / 4u + i;
            if n < params.queries && (HEAD % SIDE == 0u || v < HEAD / 4u) {
                y[((b * params.queries + n) * params.heads + h) * (HEAD / 4u) + v] = narrow4(tile_scores[row * SCORES_STRIDE + i] / whole);
            }
        }
    }
}
