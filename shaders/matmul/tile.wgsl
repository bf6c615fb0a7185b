// A tile of a product x[M, K] . w[N, K]^T, staged through workgroup memory; an invocation computes 8 x 8 of its elements.
// The file that imports this defines load_x(m, k) and load_w4(n, k), four columns, which give 0 outside.
const ROWS: u32 = 64u; // of a tile, and
const COLUMNS: u32 = 64u; // both multiples of 8
const TILE_K: u32 = 16u;
const INVOCATIONS: u32 = ROWS * COLUMNS / 64u;
const ROW_GROUPS: u32 = ROWS / 4u;
const COLUMN_GROUPS: u32 = COLUMNS / 4u;

var<workgroup> tile_x: array<vec4<f32>, TILE_K * ROW_GROUPS>; // [TILE_K][ROW_GROUPS], four rows each
var<workgroup> tile_w: array<vec4<f32>, TILE_K * COLUMN_GROUPS>; // [TILE_K][COLUMN_GROUPS], four columns each

// The 8 x 8 elements of an invocation as four blocks: rows 0 to 3 and 4 to 7 by columns 0 to 3 and 4 to 7.
// Column i of a matrix is row i of its block.
alias Sums = array<mat4x4<f32>, 4>;

// The row and column of element i (0 to 63), block by block, of what invocation `lane` of tile `wid` computes.
fn cell(wid: vec3<u32>, lane: u32, i: u32) -> vec2<u32> {
    let row = lane / (COLUMNS / 8u) * 8u + i / 32u * 4u + i % 16u / 4u;
    let column = lane % (COLUMNS / 8u) * 8u + i / 16u % 2u * 4u + i % 4u;
    return vec2(wid.y * ROWS + row, wid.x * COLUMNS + column);
}

fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(a.x * b, a.y * b, a.z * b, a.w * b);
}

// Adds up the products of k from `start`, a multiple of TILE_K, to `end` - 1.
fn multiply(wid: vec3<u32>, lane: u32, start: u32, end: u32) -> Sums {
    let x_group = lane / (COLUMNS / 8u) * 2u;
    let w_group = lane % (COLUMNS / 8u) * 2u;
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    for (var first = start; first < end; first += TILE_K) {
        // Neighbours load neighbouring k of x, and neighbouring columns of w, so that their reads fall into one cache line.
        for (var i = lane; i < TILE_K * ROW_GROUPS; i += INVOCATIONS) {
            let k = first + i % TILE_K;
            let m = wid.y * ROWS + i / TILE_K * 4u;
            tile_x[i % TILE_K * ROW_GROUPS + i / TILE_K] = vec4(load_x(m, k), load_x(m + 1u, k), load_x(m + 2u, k), load_x(m + 3u, k));
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
            sum00 += outer(a0, b0);
            sum01 += outer(a0, b1);
            sum10 += outer(a1, b0);
            sum11 += outer(a1, b1);
        }
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    return Sums(sum00, sum01, sum10, sum11);
}

// Element i of the sums, in the order of `cell`.
fn element(sums: ptr<function, Sums>, i: u32) -> f32 {
    return (*sums)[i / 16u][i / 4u % 4u][i % 4u];
}
