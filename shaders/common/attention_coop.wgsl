// SIDE queries a subgroup by cooperative matrices, keys and values in tiles through workgroup memory, online softmax in f32 (Milakov and
// Gimelshein 2018): no N x N matrix. Factors in f16, sums in f32; those of the result wait in workgroup memory, because matrices cannot
// be scaled row by row. Needs attention_call.wgsl, narrow.wgsl, and coop_8.wgsl or coop_16.wgsl.
const HEAD: u32 = 64u; // D, a multiple of SIDE
const LANES: u32 = 32u; // of a subgroup
const SUBGROUPS: u32 = 2u;
const KEYS: u32 = 16u; // in a tile, a multiple of SIDE
const INVOCATIONS: u32 = LANES * SUBGROUPS;
const QUERIES: u32 = SIDE * SUBGROUPS;
// Rows in workgroup memory, with 16 bytes behind each so that neighbours lie in other banks.
const STRIDE: u32 = HEAD / 4u + 2u; // in vec4
const P_STRIDE: u32 = KEYS + 8u;

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>; // [B, N, 3, H, D / 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, queries, H, D]

var<workgroup> tile_q: array<vec4<f16>, QUERIES * STRIDE>; // [QUERIES][STRIDE]
var<workgroup> tile_k: array<vec4<f16>, KEYS * STRIDE>; // [KEYS][STRIDE]
var<workgroup> tile_v: array<vec4<f16>, KEYS * STRIDE>; // [KEYS][STRIDE]
var<workgroup> tile_scores: array<f32, QUERIES * KEYS>; // [QUERIES][KEYS]
var<workgroup> tile_p: array<f16, QUERIES * P_STRIDE>; // [QUERIES][P_STRIDE]
var<workgroup> tile_sums: array<f32, QUERIES * HEAD>; // [QUERIES][HEAD]
var<workgroup> tile_factors: array<f32, QUERIES>; // [QUERIES], by which sums are multiplied

// Elements 4 v to 4 v + 3 of vector `part` (0 query, 1 key, 2 value) of token n; zeros behind the last token.
fn load(b: u32, n: u32, part: u32, h: u32, v: u32) -> vec4<f16> {
    if n < params.tokens {
        return narrow(qkv[(((b * params.tokens + n) * 3u + part) * params.heads + h) * (HEAD / 4u) + v]);
    }
    return vec4<f16>();
}

fn attend(wid: vec3<u32>, index: u32, subgroup: u32, lane: u32) {
    let first_query = wid.x * QUERIES;
    let h = wid.y;
    let b = wid.z;
    let own = subgroup * SIDE; // the subgroup's first row in the tiles
    for (var i = index; i < QUERIES * (HEAD / 4u); i += INVOCATIONS) {
        tile_q[i / (HEAD / 4u) * STRIDE + i % (HEAD / 4u)] = load(b, first_query + i / (HEAD / 4u), 0u, h, i % (HEAD / 4u));
    }
    for (var i = index; i < QUERIES * HEAD; i += INVOCATIONS) {
        tile_sums[i] = 0.0;
    }
    // Of the row that the lane has, if it has one.
    var largest = -3.4028234e38;
    var total = 0.0;
    for (var first = 0u; first < params.tokens; first += KEYS) {
        for (var i = index; i < KEYS * (HEAD / 4u); i += INVOCATIONS) {
            let at = i / (HEAD / 4u) * STRIDE + i % (HEAD / 4u);
            tile_k[at] = load(b, first + i / (HEAD / 4u), 1u, h, i % (HEAD / 4u));
            tile_v[at] = load(b, first + i / (HEAD / 4u), 2u, h, i % (HEAD / 4u));
        }
        workgroupBarrier(); // the tiles are whole before they are read
        for (var key = 0u; key < KEYS; key += SIDE) {
            var scores = Sum();
            for (var d = 0u; d < HEAD; d += SIDE) {
                let at_q = own * STRIDE + d / 4u;
                let at_k = key * STRIDE + d / 4u;
                // Keys lie in rows, and are the columns of the right factor.
                scores = coopMultiplyAdd(coopLoadT<Left>(&tile_q[at_q], STRIDE), coopLoad<Right>(&tile_k[at_k], STRIDE), scores);
            }
            let at = own * KEYS + key;
            coopStoreT(scores, &tile_scores[at], KEYS);
        }
        workgroupBarrier(); // the scores are whole
        if lane < SIDE {
            let row = own + lane;
            let keys = min(KEYS, params.tokens - first);
            var tile_largest = largest;
            for (var j = 0u; j < keys; j++) {
                tile_largest = max(tile_largest, tile_scores[row * KEYS + j] * params.scale);
            }
            // What was summed under the old maximum shrinks to the new one.
            let shrink = exp(largest - tile_largest);
            largest = tile_largest;
            total *= shrink;
            tile_factors[row] = shrink;
            for (var j = 0u; j < KEYS; j++) {
                var weight = f16();
                if j < keys {
                    weight = f16(exp(tile_scores[row * KEYS + j] * params.scale - largest));
                }
                tile_p[row * P_STRIDE + j] = weight;
                total += f32(weight);
            }
        }
        workgroupBarrier(); // the factors are written before the sums are multiplied by them
        for (var i = lane; i < SIDE * HEAD; i += LANES) {
            tile_sums[own * HEAD + i] *= tile_factors[own + i / HEAD];
        }
        workgroupBarrier(); // the sums have shrunk before the tile is added
        for (var d = 0u; d < HEAD; d += SIDE) {
            let at = own * HEAD + d;
            var sums = coopLoadT<Sum>(&tile_sums[at], HEAD);
            for (var key = 0u; key < KEYS; key += SIDE) {
                let at_p = own * P_STRIDE + key;
                let at_v = key * STRIDE + d / 4u;
                sums = coopMultiplyAdd(coopLoadT<Left>(&tile_p[at_p], P_STRIDE), coopLoadT<Right>(&tile_v[at_v], STRIDE), sums);
            }
            coopStoreT(sums, &tile_sums[at], HEAD);
        }
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    if lane < SIDE {
        tile_factors[own + lane] = 1.0 / total;
    }
    workgroupBarrier(); // the factors are written before the sums are multiplied by them
    for (var i = index; i < QUERIES * HEAD; i += INVOCATIONS) {
        let n = first_query + i / HEAD;
        if n < params.queries {
            y[((b * params.queries + n) * params.heads + h) * HEAD + i % HEAD] = tile_sums[i] * tile_factors[i / HEAD];
        }
    }
}
