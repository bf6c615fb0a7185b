// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h]: what tiled.wgsl computes, by cooperative matrices, D a multiple of 4; qkv and probabilities in f16, or, with PARTS 2, in f32 as two f16 each, scaled by powers.wgsl.
// SIDE queries a subgroup, keys and values in tiles through workgroup memory; sums of the result stay in matrices, and shrink, through workgroup memory, only when the maximum of a row has grown by more than 2^8 (online softmax, Milakov and Gimelshein 2018, with the maximum that is subtracted lagging); f32 sums.
// Grid: (ceil(queries / QUERIES), H, B). Needs cooperative matrices, and subgroups of LANES, SIDE or a multiple up to 4 SIDE. Twin: cpu/attention.rs
#import common/x_f32
#import common/y_f32
#import common/coop_16
#import common/parts
#import attention/call
#import attention/no_powers
#import attention/unmasked

const HEAD: u32 = 64u; // D
const LANES: u32 = 32u; // of a subgroup
const SUBGROUPS: u32 = 4u;
const KEYS: u32 = 32u; // in a tile, a multiple of SIDE
const INVOCATIONS: u32 = LANES * SUBGROUPS;
const QUERIES: u32 = SIDE * SUBGROUPS;
const HEAD_MATRICES: u32 = (HEAD + SIDE - 1u) / SIDE; // matrices that a head's vectors are cut into, zeros behind their end
const KEY_MATRICES: u32 = KEYS / SIDE;
const VECTORS_OF_HEAD: u32 = HEAD_MATRICES * SIDE / 4u;
const CHUNKS: u32 = (KEYS * VECTORS_OF_HEAD + INVOCATIONS - 1u) / INVOCATIONS; // of a tile, that an invocation loads
// A row of scores is shared by so many lanes, each of which has VECTORS of them.
const SHARERS: u32 = LANES / SIDE;
const VECTORS: u32 = KEYS / 4u / SHARERS;
// Rows in workgroup memory, in vec4, with 16 bytes behind each so that neighbours lie in other banks.
const STRIDE: u32 = HEAD_MATRICES * SIDE / 4u + 2u;
const SCORES_STRIDE: u32 = KEYS / 4u + 1u;
const P_STRIDE: u32 = KEYS / 4u + 2u;
// Where lower parts begin.
const LOW_TILE: u32 = KEYS * STRIDE;
const LOW_P: u32 = QUERIES * P_STRIDE;
const LIFT: f32 = 7.0 * f32(PARTS - 1u); // what powers are raised by, so that small ones keep their digits in f16
const LOWEST: f32 = -1e30;
const LOG2_E: f32 = 1.4426950408889634;

@group(0) @binding(1) var<storage, read> qkv: array<vec4<X>>; // [B, N, 3, H, D / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>; // [B, queries, H, D / 4]

var<workgroup> tile_k: array<vec4<f16>, PARTS * KEYS * STRIDE>; // [PARTS][KEYS][STRIDE]
var<workgroup> tile_v: array<vec4<f16>, PARTS * KEYS * STRIDE>; // [PARTS][KEYS][STRIDE]
var<workgroup> tile_scores: array<vec4<f32>, QUERIES * SCORES_STRIDE>; // [QUERIES][SCORES_STRIDE]; also what sums pass through
var<workgroup> tile_p: array<vec4<f16>, PARTS * QUERIES * P_STRIDE>; // [PARTS][QUERIES][P_STRIDE]; also what queries pass through
var<workgroup> tile_grown: array<u32, 4>; // [0..2], whether a maximum has grown, in this turn and the next; 16 bytes, so that matrices behind it stay aligned

// Elements 4 v to 4 v + 3 of the vector that token n, or the last token, has `start` behind the first token's query; zeros behind the vector's end.
fn load(start: u32, n: u32, v: u32) -> vec4<X> {
    if HEAD % SIDE == 0u || v < HEAD / 4u {
        return qkv[start + min(n, params.tokens - 1u) * (3u * params.heads * (HEAD / 4u)) + v];
    }
    return vec4<X>();
}

// An invocation's share of a tile of keys and of values.
struct Chunks {
    k: array<vec4<X>, CHUNKS>,
    v: array<vec4<X>, CHUNKS>,
}

// Which four elements of the tile a chunk is. Where the invocations do not divide it, some bring the last once more.
fn number_of(index: u32, chunk: u32) -> u32 {
    if KEYS * VECTORS_OF_HEAD % INVOCATIONS == 0u {
        return index + chunk * INVOCATIONS;
    }
    return min(index + chunk * INVOCATIONS, KEYS * VECTORS_OF_HEAD - 1u);
}

fn key_of(index: u32, chunk: u32) -> u32 {
    return number_of(index, chunk) / VECTORS_OF_HEAD;
}

fn vector_of(index: u32, chunk: u32) -> u32 {
    return number_of(index, chunk) % VECTORS_OF_HEAD;
}

// Those of the tile that begins with key `first`. They are on their way as the tile before is multiplied.
fn chunks(keys: u32, values: u32, first: u32, index: u32) -> Chunks {
    var chunks: Chunks;
    #unroll
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        chunks.k[chunk] = load(keys, first + key_of(index, chunk), vector_of(index, chunk));
        chunks.v[chunk] = load(values, first + key_of(index, chunk), vector_of(index, chunk));
    }
    return chunks;
}

// Four scores in units of log2, of query i and keys from j on, with their biases; LOWEST where there is no key.
fn masked(scores: vec4<f32>, b: u32, h: u32, i: u32, j: u32) -> vec4<f32> {
    let last = params.tokens - 1u;
    let n = min(i, last);
    let keys = vec4(j, j + 1u, j + 2u, j + 3u);
    let k = min(keys, vec4(last));
    let biases = vec4(bias(h, n, k.x), bias(h, n, k.y), bias(h, n, k.z), bias(h, n, k.w));
    let none = vec4(ignored(b, n, k.x), ignored(b, n, k.y), ignored(b, n, k.z), ignored(b, n, k.w)) | (keys > vec4(last));
    return select(scores + biases * LOG2_E, vec4(LOWEST), none);
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
    let queries = (b * params.tokens * 3u * params.heads + h) * (HEAD / 4u); // where those of the first token lie
    let keys = queries + params.heads * (HEAD / 4u);
    let values = keys + params.heads * (HEAD / 4u);
    let own = subgroup * SIDE; // the subgroup's first row in the tiles
    let row = own + lane / SHARERS;
    let share = lane % SHARERS;
    let n = wid.x * QUERIES + row;
    let first_score = row * SCORES_STRIDE + share * VECTORS;
    let scores_place = own * SCORES_STRIDE;
    let power_q = power_of(b, h, 0u);
    let power_k = power_of(b, h, 1u);
    let power_v = power_of(b, h, 2u);
    var query: array<Lhs, PARTS * HEAD_MATRICES>;
    var sums: array<Acc, PARTS * HEAD_MATRICES>; // of upper parts, and of upper with lower ones
    #unroll
    for (var d = 0u; d < HEAD_MATRICES; d++) {
        workgroupBarrier(); // the slice before is read
        for (var i = lane; i < SIDE * SIDE / 4u; i += LANES) {
            let n = wid.x * QUERIES + own + i / (SIDE / 4u);
            let at = (own + i / (SIDE / 4u)) * P_STRIDE + i % (SIDE / 4u);
            let four = load(queries, n, d * SIDE / 4u + i % (SIDE / 4u));
            if PARTS == 1u {
                tile_p[at] = vec4<f16>(four);
            } else {
                let scaled = vec4<f32>(four) * power_q;
                tile_p[at] = vec4<f16>(upper(scaled));
                tile_p[LOW_P + at] = lower(scaled);
            }
        }
        workgroupBarrier(); // this one is whole
        #unroll
        for (var part = 0u; part < PARTS; part++) {
            let at = part * LOW_P + own * P_STRIDE;
            query[part * HEAD_MATRICES + d] = coopLoadT<Lhs>(&tile_p[at], P_STRIDE);
        }
    }
    if index < 2u {
        tile_grown[index] = 0u;
    }
    // Of the row, scores in units of log2: what is subtracted, and the sum of the powers so far that this lane has seen.
    let scale = params.scale * LOG2_E / power_q / power_k;
    var largest = LOWEST;
    var total = 0.0;
    var turn = 0u;
    var scores: array<vec4<f32>, VECTORS>;
    var next = chunks(keys, values, 0u, index);
    for (var first = 0u; first < params.tokens; first += KEYS) {
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
        #unroll
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            let at = key_of(index, chunk) * STRIDE + vector_of(index, chunk);
            if PARTS == 1u {
                tile_k[at] = vec4<f16>(next.k[chunk]);
                tile_v[at] = vec4<f16>(next.v[chunk]);
            } else {
                let scaled_k = vec4<f32>(next.k[chunk]) * power_k;
                let scaled_v = vec4<f32>(next.v[chunk]) * power_v;
                tile_k[at] = vec4<f16>(upper(scaled_k));
                tile_v[at] = vec4<f16>(upper(scaled_v));
                tile_k[LOW_TILE + at] = lower(scaled_k);
                tile_v[LOW_TILE + at] = lower(scaled_v);
            }
        }
        workgroupBarrier(); // the tiles are whole before they are read
        next = chunks(keys, values, first + KEYS, index);
        #unroll
        for (var j = 0u; j < KEY_MATRICES; j++) {
            var products = Acc();
            var cross = Acc();
            #unroll
            for (var d = 0u; d < HEAD_MATRICES; d++) {
                // Keys lie in rows: they are the columns of the rhs.
                let at = j * SIDE * STRIDE + d * SIDE / 4u;
                let rhs = coopLoad<Rhs>(&tile_k[at], STRIDE);
                if PARTS == 1u {
                    products = coopMultiplyAdd(query[d], rhs, products);
                } else {
                    // Matrix units round sums towards zero; these are added by what rounds to the nearest.
                    products = products + coopMultiplyAdd(query[d], rhs, Acc());
                    let low_at = LOW_TILE + at;
                    cross = coopMultiplyAdd(query[d], coopLoad<Rhs>(&tile_k[low_at], STRIDE), cross);
                    cross = coopMultiplyAdd(query[(PARTS - 1u) * HEAD_MATRICES + d], rhs, cross);
                }
            }
            if PARTS == 2u {
                products = products + cross * (1.0 / LOW);
            }
            let at = scores_place + j * SIDE / 4u;
            coopStoreT(products, &tile_scores[at], SCORES_STRIDE);
        }
        workgroupBarrier(); // the scores are whole
        var tile_largest = LOWEST;
        #unroll
        for (var i = 0u; i < VECTORS; i++) {
            scores[i] = masked(tile_scores[first_score + i] * scale, b, h, n, first + (share * VECTORS + i) * 4u);
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
            for (var d = 0u; d < PARTS * HEAD_MATRICES; d++) {
                coopStoreT(sums[d], &tile_scores[scores_place], SCORES_STRIDE);
                workgroupBarrier(); // the sums are whole
                for (var i = share; i < SIDE / 4u; i += SHARERS) {
                    tile_scores[row * SCORES_STRIDE + i] *= shrink;
                }
                workgroupBarrier(); // they have shrunk
                sums[d] = coopLoadT<Acc>(&tile_scores[scores_place], SCORES_STRIDE);
                workgroupBarrier(); // they are read before the next ones overwrite them
            }
        }
        #unroll
        for (var i = 0u; i < VECTORS; i++) {
            let powers = exp2(scores[i] - largest + LIFT);
            let at = row * P_STRIDE + share * VECTORS + i;
            if PARTS == 1u {
                let rounded = vec4<f16>(powers);
                tile_p[at] = rounded;
                total += dot(vec4<f32>(rounded), vec4(1.0));
            } else {
                tile_p[at] = vec4<f16>(upper(powers));
                tile_p[LOW_P + at] = lower(powers);
                total += dot(powers, vec4(1.0));
            }
        }
        workgroupBarrier(); // the powers are whole
        #unroll
        for (var j = 0u; j < KEY_MATRICES; j++) {
            let at_p = own * P_STRIDE + j * SIDE / 4u;
            let powers = coopLoadT<Lhs>(&tile_p[at_p], P_STRIDE);
            #unroll
            for (var d = 0u; d < HEAD_MATRICES; d++) {
                let at = j * SIDE * STRIDE + d * SIDE / 4u;
                let rhs = coopLoadT<Rhs>(&tile_v[at], STRIDE);
                if PARTS == 1u {
                    sums[d] = coopMultiplyAdd(powers, rhs, sums[d]);
                } else {
                    let low_at = LOW_TILE + at;
                    let low_p = LOW_P + at_p;
                    let low_d = (PARTS - 1u) * HEAD_MATRICES + d;
                    sums[d] = sums[d] + coopMultiplyAdd(powers, rhs, Acc());
                    sums[low_d] = coopMultiplyAdd(powers, coopLoadT<Rhs>(&tile_v[low_at], STRIDE), sums[low_d]);
                    sums[low_d] = coopMultiplyAdd(coopLoadT<Lhs>(&tile_p[low_p], P_STRIDE), rhs, sums[low_d]);
                }
            }
        }
    }
    let share_of_whole = 1.0 / row_sum(total) / power_v;
    #unroll
    for (var d = 0u; d < HEAD_MATRICES; d++) {
        if PARTS == 2u {
            sums[d] = sums[d] + sums[(PARTS - 1u) * HEAD_MATRICES + d] * (1.0 / LOW);
        }
        workgroupBarrier(); // the slice before is read
        coopStoreT(sums[d], &tile_scores[scores_place], SCORES_STRIDE);
        workgroupBarrier(); // this one is whole
        for (var i = share; i < SIDE / 4u; i += SHARERS) {
            let v = d * SIDE / 4u + i;
            if n < params.queries && (HEAD % SIDE == 0u || v < HEAD / 4u) {
                y[((b * params.queries + n) * params.heads + h) * (HEAD / 4u) + v] = narrow4(tile_scores[row * SCORES_STRIDE + i] * share_of_whole);
            }
        }
    }
}
