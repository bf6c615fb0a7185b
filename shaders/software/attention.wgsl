// y[b, i, h, :] = sum_j softmax_j(q[b, i, h] . k[b, j, h] / sqrt(D)) v[b, j, h]: what attention/tiled.wgsl computes, without workgroup memory.
// 40 queries a subgroup, 5 an invocation, in registers; of two keys and values at a time each invocation loads four elements in 32 and hands them round; online softmax; all indices of arrays are constants. f32.
// Grid: (ceil(queries / 40), H, B). Needs subgroups of 8, and D a multiple of 4 up to 128. Twin: cpu/attention.rs
#import attention/call

const HEAD: u32 = 64u; // D
const LOWEST: f32 = -3.4028234e38;

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>; // [B, N, 3, H, D / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [B, queries, H, D / 4]

// A query of an invocation, and what it has seen so far.
struct Query {
    q: array<vec4<f32>, 32>,
    sum: array<vec4<f32>, 32>,
    largest: f32, // score
    total: f32, // of the exponentials
}

// An invocation's four elements in each 32 of a key or value: elements 4 lane to 4 lane + 3 in the first.
alias Share = array<vec4<f32>, 4>;

// Where vector `part` (0 query, 1 key, 2 value) of token n begins, in units of 4.
fn start(b: u32, n: u32, part: u32, h: u32) -> u32 {
    return (((b * params.tokens + n) * 3u + part) * params.heads + h) * (HEAD / 4u);
}

// Elements 4 v to 4 v + 3 of the vector that begins at `at`, zeros behind its end.
fn load(at: u32, v: u32) -> vec4<f32> {
    if HEAD % 32u == 0u || v < HEAD / 4u {
        return qkv[at + v];
    }
    return vec4<f32>();
}

fn load_share(at: u32, lane: u32) -> Share {
    var share: Share;
    share[0] = load(at, lane);
    if HEAD > 32u {
        share[1] = load(at, lane + 8u);
    }
    if HEAD > 64u {
        share[2] = load(at, lane + 16u);
    }
    if HEAD > 96u {
        share[3] = load(at, lane + 24u);
    }
    return share;
}

fn load_eight(query: ptr<function, Query>, at: u32, first: u32) {
    (*query).q[first] = load(at, first) * params.scale;
    (*query).q[first + 1u] = load(at, first + 1u) * params.scale;
    (*query).q[first + 2u] = load(at, first + 2u) * params.scale;
    (*query).q[first + 3u] = load(at, first + 3u) * params.scale;
    (*query).q[first + 4u] = load(at, first + 4u) * params.scale;
    (*query).q[first + 5u] = load(at, first + 5u) * params.scale;
    (*query).q[first + 6u] = load(at, first + 6u) * params.scale;
    (*query).q[first + 7u] = load(at, first + 7u) * params.scale;
}

// Query n, or the last one if there is no such.
fn begin(query: ptr<function, Query>, b: u32, n: u32, h: u32) {
    let at = start(b, min(n, params.tokens - 1u), 0u, h);
    load_eight(query, at, 0u);
    if HEAD > 32u {
        load_eight(query, at, 8u);
    }
    if HEAD > 64u {
        load_eight(query, at, 16u);
    }
    if HEAD > 96u {
        load_eight(query, at, 24u);
    }
    (*query).largest = LOWEST;
}

fn multiply_eight(query: ptr<function, Query>, first: u32, key: vec4<f32>) -> vec4<f32> {
    return (*query).q[first] * subgroupBroadcast(key, 0u)
        + (*query).q[first + 1u] * subgroupBroadcast(key, 1u)
        + (*query).q[first + 2u] * subgroupBroadcast(key, 2u)
        + (*query).q[first + 3u] * subgroupBroadcast(key, 3u)
        + (*query).q[first + 4u] * subgroupBroadcast(key, 4u)
        + (*query).q[first + 5u] * subgroupBroadcast(key, 5u)
        + (*query).q[first + 6u] * subgroupBroadcast(key, 6u)
        + (*query).q[first + 7u] * subgroupBroadcast(key, 7u);
}

fn score(query: ptr<function, Query>, key: Share) -> f32 {
    var sums = multiply_eight(query, 0u, key[0]);
    if HEAD > 32u {
        sums += multiply_eight(query, 8u, key[1]);
    }
    if HEAD > 64u {
        sums += multiply_eight(query, 16u, key[2]);
    }
    if HEAD > 96u {
        sums += multiply_eight(query, 24u, key[3]);
    }
    return sums.x + sums.y + sums.z + sums.w;
}

// What the sum so far shrinks to, and the weights of two values.
struct Weights {
    shrink: f32,
    first: f32,
    second: f32,
}

fn add_eight(query: ptr<function, Query>, first: u32, weights: Weights, a: vec4<f32>, b: vec4<f32>) {
    (*query).sum[first] = (*query).sum[first] * weights.shrink + weights.first * subgroupBroadcast(a, 0u) + weights.second * subgroupBroadcast(b, 0u);
    (*query).sum[first + 1u] = (*query).sum[first + 1u] * weights.shrink + weights.first * subgroupBroadcast(a, 1u) + weights.second * subgroupBroadcast(b, 1u);
    (*query).sum[first + 2u] = (*query).sum[first + 2u] * weights.shrink + weights.first * subgroupBroadcast(a, 2u) + weights.second * subgroupBroadcast(b, 2u);
    (*query).sum[first + 3u] = (*query).sum[first + 3u] * weights.shrink + weights.first * subgroupBroadcast(a, 3u) + weights.second * subgroupBroadcast(b, 3u);
    (*query).sum[first + 4u] = (*query).sum[first + 4u] * weights.shrink + weights.first * subgroupBroadcast(a, 4u) + weights.second * subgroupBroadcast(b, 4u);
    (*query).sum[first + 5u] = (*query).sum[first + 5u] * weights.shrink + weights.first * subgroupBroadcast(a, 5u) + weights.second * subgroupBroadcast(b, 5u);
    (*query).sum[first + 6u] = (*query).sum[first + 6u] * weights.shrink + weights.first * subgroupBroadcast(a, 6u) + weights.second * subgroupBroadcast(b, 6u);
    (*query).sum[first + 7u] = (*query).sum[first + 7u] * weights.shrink + weights.first * subgroupBroadcast(a, 7u) + weights.second * subgroupBroadcast(b, 7u);
}

// Two keys and their values; the second does not count unless `both`.
fn attend(query: ptr<function, Query>, k: array<Share, 2>, v: array<Share, 2>, both: bool) {
    let a = score(query, k[0]);
    let b = select(LOWEST, score(query, k[1]), both);
    let largest = max((*query).largest, max(a, b));
    let weights = Weights(exp((*query).largest - largest), exp(a - largest), exp(b - largest));
    (*query).largest = largest;
    (*query).total = (*query).total * weights.shrink + weights.first + weights.second;
    add_eight(query, 0u, weights, v[0][0], v[1][0]);
    if HEAD > 32u {
        add_eight(query, 8u, weights, v[0][1], v[1][1]);
    }
    if HEAD > 64u {
        add_eight(query, 16u, weights, v[0][2], v[1][2]);
    }
    if HEAD > 96u {
        add_eight(query, 24u, weights, v[0][3], v[1][3]);
    }
}

fn store(at: u32, v: u32, value: vec4<f32>) {
    if HEAD % 32u == 0u || v < HEAD / 4u {
        y[at + v] = value;
    }
}

fn store_eight(query: ptr<function, Query>, at: u32, first: u32) {
    let total = (*query).total;
    store(at, first, (*query).sum[first] / total);
    store(at, first + 1u, (*query).sum[first + 1u] / total);
    store(at, first + 2u, (*query).sum[first + 2u] / total);
    store(at, first + 3u, (*query).sum[first + 3u] / total);
    store(at, first + 4u, (*query).sum[first + 4u] / total);
    store(at, first + 5u, (*query).sum[first + 5u] / total);
    store(at, first + 6u, (*query).sum[first + 6u] / total);
    store(at, first + 7u, (*query).sum[first + 7u] / total);
}

fn end(query: ptr<function, Query>, b: u32, n: u32, h: u32) {
    if n >= params.queries {
        return;
    }
    let at = ((b * params.queries + n) * params.heads + h) * (HEAD / 4u);
    store_eight(query, at, 0u);
    if HEAD > 32u {
        store_eight(query, at, 8u);
    }
    if HEAD > 64u {
        store_eight(query, at, 16u);
    }
    if HEAD > 96u {
        store_eight(query, at, 24u);
    }
}

@compute @workgroup_size(8)
fn attention_software(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let n = wid.x * 40u + lane;
    let h = wid.y;
    let b = wid.z;
    var query0: Query;
    var query1: Query;
    var query2: Query;
    var query3: Query;
    var query4: Query;
    begin(&query0, b, n, h);
    begin(&query1, b, n + 8u, h);
    begin(&query2, b, n + 16u, h);
    begin(&query3, b, n + 24u, h);
    begin(&query4, b, n + 32u, h);
    for (var j = 0u; j < params.tokens; j += 2u) {
        let both = j + 1u < params.tokens;
        let second = min(j + 1u, params.tokens - 1u);
        let k = array(load_share(start(b, j, 1u, h), lane), load_share(start(b, second, 1u, h), lane));
        let v = array(load_share(start(b, j, 2u, h), lane), load_share(start(b, second, 2u, h), lane));
        attend(&query0, k, v, both);
        attend(&query1, k, v, both);
        attend(&query2, k, v, both);
        attend(&query3, k, v, both);
        attend(&query4, k, v, both);
    }
    end(&query0, b, n, h);
    end(&query1, b, n + 8u, h);
    end(&query2, b, n + 16u, h);
    end(&query3, b, n + 24u, h);
    end(&query4, b, n + 32u, h);
}
