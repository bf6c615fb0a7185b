// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, with x and w in 8-bit integers and a scale for each row of both.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; exact sums in i32, scaled in f32.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul_int8.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call

const ROWS: u32 = 64u; // of a tile, and
const COLUMNS: u32 = 64u; // both multiples of 8
const TILE_K: u32 = 16u; // words of k, four integers each
const INVOCATIONS: u32 = ROWS * COLUMNS / 64u;
const ROW_GROUPS: u32 = ROWS / 4u;
const COLUMN_GROUPS: u32 = COLUMNS / 4u;

@group(0) @binding(1) var<storage, read> x: array<u32>; // [M, ceil(K / 4) + 1]
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>; // [ceil(N / 64), ceil(K / 4) + 1, 64]

var<workgroup> tile_x: array<vec4<u32>, TILE_K * ROW_GROUPS>; // [TILE_K][ROW_GROUPS], four rows each
var<workgroup> tile_w: array<vec4<u32>, TILE_K * COLUMN_GROUPS>; // [TILE_K][COLUMN_GROUPS], four columns each

// Sums of four rows by four columns.
struct Block {
    row0: vec4<i32>,
    row1: vec4<i32>,
    row2: vec4<i32>,
    row3: vec4<i32>,
}

fn words() -> u32 {
    return (params.k + 3u) / 4u;
}

fn load_x(m: u32, i: u32) -> u32 {
    if m < params.m && i < words() {
        return x[m * (words() + 1u) + i];
    }
    return 0u;
}

fn load_w4(n: u32, i: u32) -> vec4<u32> {
    if n < params.n && i < words() {
        return w[(n / 64u * (words() + 1u) + i) * 16u + n % 64u / 4u];
    }
    return vec4<u32>();
}

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

fn add(block: Block, a: vec4<u32>, b: vec4<u32>) -> Block {
    return Block(block.row0 + dots(a.x, b), block.row1 + dots(a.y, b), block.row2 + dots(a.z, b), block.row3 + dots(a.w, b));
}

fn finish_row(m: u32, n: u32, sums: vec4<i32>) {
    if m >= params.m || n >= params.n {
        return;
    }
    let scale_x = bitcast<f32>(x[m * (words() + 1u) + words()]);
    let scales = bitcast<vec4<f32>>(w[(n / 64u * (words() + 1u) + words()) * 16u + n % 64u / 4u]) * scale_x;
    for (var i = 0u; i < 4u; i++) {
        finish(0u, m, n + i, f32(sums[i]) * scales[i] + bias_at(n + i));
    }
}

fn finish_block(m: u32, n: u32, block: Block) {
    finish_row(m, n, block.row0);
    finish_row(m + 1u, n, block.row1);
    finish_row(m + 2u, n, block.row2);
    finish_row(m + 3u, n, block.row3);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_int8(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let x_group = lane / (COLUMNS / 8u) * 2u;
    let w_group = lane % (COLUMNS / 8u) * 2u;
    var block00 = Block();
    var block01 = Block();
    var block10 = Block();
    var block11 = Block();
    for (var first = 0u; first < words(); first += TILE_K) {
        for (var i = lane; i < TILE_K * ROW_GROUPS; i += INVOCATIONS) {
            let m = wid.y * ROWS + i / TILE_K * 4u;
            let at = first + i % TILE_K;
            tile_x[i % TILE_K * ROW_GROUPS + i / TILE_K] = vec4(load_x(m, at), load_x(m + 1u, at), load_x(m + 2u, at), load_x(m + 3u, at));
        }
        for (var i = lane; i < TILE_K * COLUMN_GROUPS; i += INVOCATIONS) {
            tile_w[i] = load_w4(wid.x * COLUMNS + i % COLUMN_GROUPS * 4u, first + i / COLUMN_GROUPS);
        }
        workgroupBarrier(); // the tiles are whole before they are read
        for (var i = 0u; i < TILE_K; i++) {
            let a0 = tile_x[i * ROW_GROUPS + x_group];
            let a1 = tile_x[i * ROW_GROUPS + x_group + 1u];
            let b0 = tile_w[i * COLUMN_GROUPS + w_group];
            let b1 = tile_w[i * COLUMN_GROUPS + w_group + 1u];
            block00 = add(block00, a0, b0);
            block01 = add(block01, a0, b1);
            block10 = add(block10, a1, b0);
            block11 = add(block11, a1, b1);
        }
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    let m = wid.y * ROWS + x_group * 4u;
    let n = wid.x * COLUMNS + w_group * 4u;
    finish_block(m, n, block00);
    finish_block(m, n + 4u, block01);
    finish_block(m + 4u, n, block10);
    finish_block(m + 4u, n + 4u, block11);
}
