// How a tile of a product is shared out: DOWN x ACROSS subgroups a workgroup, MATRICES_DOWN x MATRICES_ACROSS cooperative matrices a subgroup, STEPS of
// them deep. Invocations bring x and w in chunks of four values, neighbours side by side. Needs call_vec4.wgsl or split_vec4.wgsl, coop_8.wgsl or coop_16.wgsl, and memory_vec4.wgsl or memory_scalar.wgsl.
// The file that imports this defines x, w, Chunk, PARTS of which f16 each value is made, and factors_at(m, n), which make products (m, n) to (m, n + 3) of their sums.
const LANES: u32 = 32u; // of a subgroup
const DOWN: u32 = 2u;
const ACROSS: u32 = 2u;
const MATRICES_DOWN: u32 = 4u;
const MATRICES_ACROSS: u32 = 4u;
const STEPS: u32 = 2u;
const WHOLE: u32 = 0u; // 1 if K is known to be a multiple of TILE_K, so that no load tests for its end
const TALL: u32 = 0u; // 1 if M is known to be at least ROWS, and invocations divide a tile of x into equal shares
const EVEN: u32 = 0u; // 1 if they so divide one of w
const INVOCATIONS: u32 = LANES * DOWN * ACROSS;
const ROWS: u32 = DOWN * MATRICES_DOWN * SIDE;
const COLUMNS: u32 = ACROSS * MATRICES_ACROSS * SIDE;
const TILE_K: u32 = STEPS * SIDE;
// Rows in workgroup memory, in vec4, with 16 bytes behind each so that neighbours lie in other banks.
const X_STRIDE: u32 = TILE_K / 4u + 2u;
const W_STRIDE: u32 = COLUMNS / 4u + 2u;
// Chunks of an invocation.
const X_CHUNKS: u32 = (ROWS * TILE_K / 4u + INVOCATIONS - 1u) / INVOCATIONS;
const W_CHUNKS: u32 = (COLUMNS * TILE_K / 4u + INVOCATIONS - 1u) / INVOCATIONS;

// Chunks of four sums that a lane has of a matrix.
const SHARE: u32 = (SIDE * SIDE / 4u + LANES - 1u) / LANES;

// Where an invocation's next chunks of x and w lie, in vec4; where the others follow the first one at a constant distance, which costs neither
// registers nor instructions, only that one. Of windows, which rows of x they are.
struct Starts {
    x: array<u32, X_CHUNKS - TALL * (X_CHUNKS - 1u)>,
    w: array<u32, W_CHUNKS - EVEN * (W_CHUNKS - 1u)>,
}

fn start_of_x(starts: ptr<function, Starts>, i: u32) -> u32 {
    if TALL == 1u {
        return (*starts).x[0] + i * (INVOCATIONS / (TILE_K / 4u)) * (depth() / 4u);
    }
    return (*starts).x[i];
}

// Of windows, there are as many starts as chunks.
fn row_of_x(starts: ptr<function, Starts>, i: u32) -> u32 {
    return (*starts).x[i];
}

fn start_of_w(starts: ptr<function, Starts>, i: u32) -> u32 {
    if EVEN == 1u {
        return (*starts).w[0] + i * (INVOCATIONS / (COLUMNS / 4u)) * 16u;
    }
    return (*starts).w[i];
}

// The first row of a tile. The last tile of a tall matrix ends with its last row, and computes some rows of the one before once more.
fn first_of_rows(wid: vec3<u32>) -> u32 {
    if TALL == 1u {
        return min(wid.y * ROWS, params.m - ROWS);
    }
    return wid.y * ROWS;
}

// Whether row m is not left to the tile before, which has computed it too: both may write the same over what y held, but only one may add to it.
fn is_own(wid: vec3<u32>, m: u32) -> bool {
    return TALL == 0u || replaces() || m >= wid.y * ROWS;
}

// An invocation's share of a tile.
struct Chunks {
    x: array<Chunk, X_CHUNKS>,
    w: array<Chunk, W_CHUNKS>,
}

// Those of the tile that begins at k. Rows and columns behind the last repeat it, so that no load tests for them; what becomes of them is not written.
fn starts(wid: vec3<u32>, index: u32, k: u32) -> Starts {
    var starts: Starts;
    for (var i = 0u; i < X_CHUNKS - TALL * (X_CHUNKS - 1u); i++) {
        let row = min(first_of_rows(wid) + (index + i * INVOCATIONS) / (TILE_K / 4u), params.m - 1u);
        if SEGMENTS == 1u {
            starts.x[i] = (row * depth() + k + column_of_x(index, i)) / 4u;
        } else {
            starts.x[i] = row;
        }
    }
    for (var i = 0u; i < W_CHUNKS - EVEN * (W_CHUNKS - 1u); i++) {
        let column = min(wid.x * COLUMNS + (index + i * INVOCATIONS) % (COLUMNS / 4u) * 4u, params.n - 4u);
        starts.w[i] = (column / 64u * depth() + k + row_of_w(index, i)) * 16u + column % 64u / 4u;
    }
    return starts;
}

// Moves to the tile that begins `by` further on in K.
fn advance(starts: ptr<function, Starts>, by: u32) {
    if SEGMENTS == 1u {
        for (var i = 0u; i < X_CHUNKS - TALL * (X_CHUNKS - 1u); i++) {
            (*starts).x[i] += by / 4u;
        }
    }
    for (var i = 0u; i < W_CHUNKS - EVEN * (W_CHUNKS - 1u); i++) {
        (*starts).w[i] += by * 16u;
    }
}

fn chunk_of_window(m: u32, k: u32) -> Chunk {
    let at = place_in_x(m, k);
    if is_padding(at) {
        return Chunk();
    }
    if RECTIFIED == 1u {
        return max(x[at / 4u], Chunk());
    }
    return x[at / 4u];
}

// Loads an invocation's chunks of the tile that begins at k, where the starts are, zeros behind the end of K.
fn prefetch(chunks: ptr<function, Chunks>, starts: ptr<function, Starts>, k: u32, index: u32) {
    #unroll
    for (var i = 0u; i < X_CHUNKS; i++) {
        (*chunks).x[i] = Chunk();
        if is_inside(k + column_of_x(index, i)) {
            if SEGMENTS == 1u {
                (*chunks).x[i] = x[start_of_x(starts, i)];
            } else {
                (*chunks).x[i] = chunk_of_window(row_of_x(starts, i), k + column_of_x(index, i));
            }
        }
    }
    #unroll
    for (var i = 0u; i < W_CHUNKS; i++) {
        (*chunks).w[i] = Chunk();
        if is_inside(k + row_of_w(index, i)) {
            (*chunks).w[i] = w[start_of_w(starts, i)];
        }
    }
}

fn column_of_x(index: u32, i: u32) -> u32 {
    return (index + i * INVOCATIONS) % (TILE_K / 4u) * 4u;
}

fn row_of_w(index: u32, i: u32) -> u32 {
    return (index + i * INVOCATIONS) / (COLUMNS / 4u) % TILE_K;
}

// Whether there is chunk i of x: not if the invocations do not divide the tile.
fn is_of_x(index: u32, i: u32) -> bool {
    return X_CHUNKS * INVOCATIONS * 4u == ROWS * TILE_K || index + i * INVOCATIONS < ROWS * TILE_K / 4u;
}

fn is_of_w(index: u32, i: u32) -> bool {
    return W_CHUNKS * INVOCATIONS * 4u == COLUMNS * TILE_K || index + i * INVOCATIONS < COLUMNS * TILE_K / 4u;
}

// Where chunk i lies in its tile. Where invocations divide a row, a chunk follows the first one at a constant distance, which costs no register.
fn place_of_x(index: u32, i: u32) -> u32 {
    if INVOCATIONS % (TILE_K / 4u) == 0u {
        return index / (TILE_K / 4u) * X_STRIDE + index % (TILE_K / 4u) + i * (INVOCATIONS / (TILE_K / 4u) * X_STRIDE);
    }
    return (index + i * INVOCATIONS) / (TILE_K / 4u) * X_STRIDE + (index + i * INVOCATIONS) % (TILE_K / 4u);
}

fn place_of_w(index: u32, i: u32) -> u32 {
    if INVOCATIONS % (COLUMNS / 4u) == 0u {
        return index / (COLUMNS / 4u) * W_STRIDE + index % (COLUMNS / 4u) + i * (INVOCATIONS / (COLUMNS / 4u) * W_STRIDE);
    }
    return (index + i * INVOCATIONS) / (COLUMNS / 4u) * W_STRIDE + (index + i * INVOCATIONS) % (COLUMNS / 4u);
}

// Whether k lies in front of the end of K; the values behind it are zeros.
fn is_inside(k: u32) -> bool {
    return WHOLE == 1u || k < depth();
}

// The k of a slice's last tile, beyond which nothing is loaded.
fn last_tile(slice: u32) -> u32 {
    return (end_k(slice) - 1u) / TILE_K * TILE_K;
}

// Where matrix i of a subgroup begins in the tile.
fn first_row(subgroup: u32, i: u32) -> u32 {
    return (subgroup / ACROSS * MATRICES_DOWN + i) * SIDE;
}

fn first_column(subgroup: u32, j: u32) -> u32 {
    return (subgroup % ACROSS * MATRICES_ACROSS + j) * SIDE;
}

// What a lane reads for its share of four columns of sums that its subgroup ends with.
struct Before {
    held: vec4<f32>,
    factors: vec4<f32>,
}

// The lane's row `part` in a matrix of sums, and its four columns, of which it has the same in each row.
fn row_of(lane: u32, part: u32) -> u32 {
    return (lane + part * LANES) / (SIDE / 4u);
}

fn column_of(lane: u32) -> u32 {
    return lane % (SIDE / 4u) * 4u;
}

// Columns and a row of matrices are read all at once, in front of the barriers between which sums pass through memory: who waits for each by itself
// waits for most of the time that a tile takes to be written.
fn columns_of(wid: vec3<u32>, subgroup: u32, lane: u32) -> array<Columns, MATRICES_ACROSS> {
    var columns: array<Columns, MATRICES_ACROSS>;
    #unroll
    for (var j = 0u; j < MATRICES_ACROSS; j++) {
        columns[j] = columns_at(wid.x * COLUMNS + first_column(subgroup, j) + column_of(lane));
    }
    return columns;
}

fn before(wid: vec3<u32>, row: u32, subgroup: u32, lane: u32) -> array<array<Before, SHARE>, MATRICES_ACROSS> {
    var all: array<array<Before, SHARE>, MATRICES_ACROSS>;
    #unroll
    for (var j = 0u; j < MATRICES_ACROSS; j++) {
        #unroll
        for (var part = 0u; part < SHARE; part++) {
            let m = first_of_rows(wid) + row + row_of(lane, part);
            let n = wid.x * COLUMNS + first_column(subgroup, j) + column_of(lane);
            all[j][part] = Before(held_at(m, n), factors_at(m, n));
        }
    }
    return all;
}

// Brings a matrix of sums through workgroup memory to where the epilogue writes it.
fn finish_matrix(wid: vec3<u32>, sums: Acc, row: u32, column: u32, subgroup: u32, lane: u32, columns: Columns, all: array<Before, SHARE>) {
    let own = subgroup * SIDE * SIDE / 4u;
    workgroupBarrier(); // the matrix before is read
    coopStoreT(sums, &tile_sums[own * ELEMENTS], SIDE / 4u * ELEMENTS);
    workgroupBarrier(); // this one is whole
    #unroll
    for (var part = 0u; part < SHARE; part++) {
        let m = first_of_rows(wid) + row + row_of(lane, part);
        if is_own(wid, m) && (SIDE * SIDE / 4u % LANES == 0u || lane + part * LANES < SIDE * SIDE / 4u) {
            let products = sums_at(own + lane + part * LANES) * all[part].factors;
            finish4_with(wid.z, m, wid.x * COLUMNS + column + column_of(lane), products, columns, all[part].held);
        }
    }
}
