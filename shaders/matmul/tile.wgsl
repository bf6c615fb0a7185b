// A tile of a product x[M, K] . w[N, K]^T, staged through workgroup memory; an invocation computes 8 x 8 of its elements.
// The file that imports this defines Four, which is what tiles are made of; Block, the sums of four rows by four columns, and add(block, a, b), which
// adds the products of four rows and four columns; settle(block, at, first), which ends what began at k = first, for a block at that row and column;
// load_x(m, k), a value, and load_w4(n, k), four columns, which give 0 behind the end of K.
const ROWS: u32 = 64u; // of a tile, and
const COLUMNS: u32 = 64u; // both multiples of 8
const TILE_K: u32 = 16u;
const INVOCATIONS: u32 = ROWS * COLUMNS / 64u;
const ROW_GROUPS: u32 = ROWS / 4u;
const COLUMN_GROUPS: u32 = COLUMNS / 4u;

// With one more in each row, so that neighbours, which write one below the other, write to other banks.
const X_STRIDE: u32 = ROW_GROUPS + 1u;

var<workgroup> tile_x: array<Four, TILE_K * X_STRIDE>; // [TILE_K][X_STRIDE], four rows each
var<workgroup> tile_w: array<Four, TILE_K * COLUMN_GROUPS>; // [TILE_K][COLUMN_GROUPS], four columns each

// Where invocation `lane` has its blocks: one in each quarter of the tile, so that neighbours read neighbouring columns, each from a bank of its own.
fn row_group(lane: u32) -> u32 {
    return lane / (COLUMNS / 8u);
}

fn column_group(lane: u32) -> u32 {
    return lane % (COLUMNS / 8u);
}

// The first row and column of an invocation's block (0 to 3) in tile `wid`.
fn place(wid: vec3<u32>, lane: u32, block: u32) -> vec2<u32> {
    let row = (row_group(lane) + block / 2u * (ROW_GROUPS / 2u)) * 4u;
    let column = (column_group(lane) + block % 2u * (COLUMN_GROUPS / 2u)) * 4u;
    return vec2(wid.y * ROWS + row, wid.x * COLUMNS + column);
}

// Adds up the products of k from `start`, a multiple of TILE_K, to `end` - 1.
fn multiply(wid: vec3<u32>, lane: u32, start: u32, end: u32) -> array<Block, 4> {
    var block0 = Block();
    var block1 = Block();
    var block2 = Block();
    var block3 = Block();
    for (var first = start; first < end; first += TILE_K) {
        // Neighbours load neighbouring k of x, and neighbouring columns of w, so that their reads fall into one cache line.
        for (var i = lane; i < TILE_K * ROW_GROUPS; i += INVOCATIONS) {
            let k = first + i % TILE_K;
            let m = wid.y * ROWS + i / TILE_K * 4u;
            tile_x[i % TILE_K * X_STRIDE + i / TILE_K] = Four(load_x(m, k), load_x(m + 1u, k), load_x(m + 2u, k), load_x(m + 3u, k));
        }
        for (var i = lane; i < TILE_K * COLUMN_GROUPS; i += INVOCATIONS) {
            tile_w[i] = load_w4(wid.x * COLUMNS + i % COLUMN_GROUPS * 4u, first + i / COLUMN_GROUPS);
        }
        workgroupBarrier(); // the tiles are whole before they are read
        for (var i = 0u; i < TILE_K; i++) {
            let a0 = tile_x[i * X_STRIDE + row_group(lane)];
            let a1 = tile_x[i * X_STRIDE + row_group(lane) + ROW_GROUPS / 2u];
            let b0 = tile_w[i * COLUMN_GROUPS + column_group(lane)];
            let b1 = tile_w[i * COLUMN_GROUPS + column_group(lane) + COLUMN_GROUPS / 2u];
            block0 = add(block0, a0, b0);
            block1 = add(block1, a0, b1);
            block2 = add(block2, a1, b0);
            block3 = add(block3, a1, b1);
        }
        block0 = settle(block0, place(wid, lane, 0u), first);
        block1 = settle(block1, place(wid, lane, 1u), first);
        block2 = settle(block2, place(wid, lane, 2u), first);
        block3 = settle(block3, place(wid, lane, 3u), first);
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    return array(block0, block1, block2, block3);
}
