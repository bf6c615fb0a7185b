// A tile of a product x[M, K] . w[N, K]^T by cooperative matrices, 4 x 2 of them a subgroup, DOWN x ACROSS subgroups a workgroup.
// x and w pass through workgroup memory in f16, the next TILE_K of both on their way meanwhile; f32 sums.
// Needs narrow.wgsl, rows_vec4.wgsl, panel_f16_wide.wgsl, matmul_call.wgsl or split_call.wgsl, and coop_8.wgsl or coop_16.wgsl.
const LANES: u32 = 32u; // of a subgroup
const DOWN: u32 = 2u;
const ACROSS: u32 = 2u * DOWN;
const INVOCATIONS: u32 = LANES * DOWN * ACROSS;
const ROWS: u32 = 4u * SIDE * DOWN; // of the tile
const COLUMNS: u32 = 2u * SIDE * ACROSS;
// So deep that each invocation brings four vec4 of x and two times eight values of w.
const TILE_K: u32 = 16u * INVOCATIONS / ROWS;
// Rows in workgroup memory, in vec4, with 16 bytes behind each so that neighbours lie in other banks.
const X_STRIDE: u32 = TILE_K / 4u + 2u;
const W_STRIDE: u32 = COLUMNS / 4u + 2u;
const X_APART: u32 = INVOCATIONS / (TILE_K / 4u); // rows between the vectors that an invocation brings
const W_APART: u32 = INVOCATIONS / (COLUMNS / 8u);

var<workgroup> tile_x: array<vec4<f16>, ROWS * X_STRIDE>; // [ROWS][X_STRIDE]
var<workgroup> tile_w: array<vec4<f16>, TILE_K * W_STRIDE>; // [TILE_K][W_STRIDE]
var<workgroup> tile_sums: array<f32, DOWN * ACROSS * SIDE * SIDE>; // [DOWN * ACROSS][SIDE][SIDE]

// What an invocation brings at a time.
struct Brought {
    x0: vec4<f32>,
    x1: vec4<f32>,
    x2: vec4<f32>,
    x3: vec4<f32>,
    w0: vec4<f16>,
    w1: vec4<f16>,
    w2: vec4<f16>,
    w3: vec4<f16>,
}

// The sums of a subgroup: 4 matrices down, 2 across.
struct Sums {
    s00: Sum,
    s01: Sum,
    s10: Sum,
    s11: Sum,
    s20: Sum,
    s21: Sum,
    s30: Sum,
    s31: Sum,
}

// x[m, k] to x[m, k + 3], zeros outside.
fn load_x4(m: u32, k: u32) -> vec4<f32> {
    if m < params.m && k < params.k {
        return x[(m * params.k + k) / 4u];
    }
    return vec4<f32>();
}

// Columns n to n + 3 of w^T in row k, zeros outside.
fn load_w4(n: u32, k: u32) -> vec4<f16> {
    if n < params.n && k < params.k {
        return w[(n / 64u * params.k + k) * 16u + n % 64u / 4u];
    }
    return vec4<f16>();
}

fn bring(wid: vec3<u32>, lane: u32, first: u32) -> Brought {
    let m = wid.y * ROWS + lane / (TILE_K / 4u);
    let k = first + lane % (TILE_K / 4u) * 4u;
    let n = wid.x * COLUMNS + lane % (COLUMNS / 8u) * 8u;
    let row = first + lane / (COLUMNS / 8u);
    return Brought(
        load_x4(m, k), load_x4(m + X_APART, k), load_x4(m + 2u * X_APART, k), load_x4(m + 3u * X_APART, k),
        load_w4(n, row), load_w4(n + 4u, row), load_w4(n, row + W_APART), load_w4(n + 4u, row + W_APART),
    );
}

fn put(lane: u32, brought: Brought) {
    let at = lane / (TILE_K / 4u) * X_STRIDE + lane % (TILE_K / 4u);
    tile_x[at] = narrow(brought.x0);
    tile_x[at + X_APART * X_STRIDE] = narrow(brought.x1);
    tile_x[at + 2u * X_APART * X_STRIDE] = narrow(brought.x2);
    tile_x[at + 3u * X_APART * X_STRIDE] = narrow(brought.x3);
    let below = lane / (COLUMNS / 8u) * W_STRIDE + lane % (COLUMNS / 8u) * 2u;
    tile_w[below] = brought.w0;
    tile_w[below + 1u] = brought.w1;
    tile_w[below + W_APART * W_STRIDE] = brought.w2;
    tile_w[below + W_APART * W_STRIDE + 1u] = brought.w3;
}

// Brings one matrix of sums through workgroup memory to where the epilogue writes it.
fn finish_matrix(sum: Sum, m: u32, n: u32, subgroup: u32, lane: u32) {
    let own = subgroup * SIDE * SIDE;
    workgroupBarrier(); // the matrix before is read
    coopStoreT(sum, &tile_sums[own], SIDE);
    workgroupBarrier(); // this one is whole
    for (var i = lane; i < SIDE * SIDE; i += LANES) {
        let column = n + i % SIDE;
        finish(m + i / SIDE, column, tile_sums[own + i] + bias_at(column));
    }
}

fn compute(wid: vec3<u32>, index: u32, subgroup: u32, lane: u32) {
    let down = subgroup / ACROSS * 4u * SIDE;
    let across = subgroup % ACROSS * 2u * SIDE;
    var sums = Sums();
    var brought = bring(wid, index, first_k());
    for (var first = first_k(); first < end_k(); first += TILE_K) {
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
        put(index, brought);
        workgroupBarrier(); // the tiles are whole before they are read
        brought = bring(wid, index, first + TILE_K);
        for (var k = 0u; k < TILE_K; k += SIDE) {
            let at_x = down * X_STRIDE + k / 4u;
            let at_x1 = at_x + SIDE * X_STRIDE;
            let at_x2 = at_x1 + SIDE * X_STRIDE;
            let at_x3 = at_x2 + SIDE * X_STRIDE;
            let at_w = k * W_STRIDE + across / 4u;
            let at_w1 = at_w + SIDE / 4u;
            let a0 = coopLoadT<Left>(&tile_x[at_x], X_STRIDE);
            let a1 = coopLoadT<Left>(&tile_x[at_x1], X_STRIDE);
            let a2 = coopLoadT<Left>(&tile_x[at_x2], X_STRIDE);
            let a3 = coopLoadT<Left>(&tile_x[at_x3], X_STRIDE);
            let b0 = coopLoadT<Right>(&tile_w[at_w], W_STRIDE);
            let b1 = coopLoadT<Right>(&tile_w[at_w1], W_STRIDE);
            sums.s00 = coopMultiplyAdd(a0, b0, sums.s00);
            sums.s01 = coopMultiplyAdd(a0, b1, sums.s01);
            sums.s10 = coopMultiplyAdd(a1, b0, sums.s10);
            sums.s11 = coopMultiplyAdd(a1, b1, sums.s11);
            sums.s20 = coopMultiplyAdd(a2, b0, sums.s20);
            sums.s21 = coopMultiplyAdd(a2, b1, sums.s21);
            sums.s30 = coopMultiplyAdd(a3, b0, sums.s30);
            sums.s31 = coopMultiplyAdd(a3, b1, sums.s31);
        }
    }
    let m = wid.y * ROWS + down;
    let n = wid.x * COLUMNS + across;
    finish_matrix(sums.s00, m, n, subgroup, lane);
    finish_matrix(sums.s01, m, n + SIDE, subgroup, lane);
    finish_matrix(sums.s10, m + SIDE, n, subgroup, lane);
    finish_matrix(sums.s11, m + SIDE, n + SIDE, subgroup, lane);
    finish_matrix(sums.s20, m + 2u * SIDE, n, subgroup, lane);
    finish_matrix(sums.s21, m + 2u * SIDE, n + SIDE, subgroup, lane);
    finish_matrix(sums.s30, m + 3u * SIDE, n, subgroup, lane);
    finish_matrix(sums.s31, m + 3u * SIDE, n + SIDE, subgroup, lane);
}
