// A 64 x 64 tile of a product x[M, K] . w[N, K]^T by 256 invocations, staged through workgroup memory.
// The file that imports this defines load_x(m, k) and load_w(n, k), which give 0 outside.
const TILE: u32 = 64u;
const TILE_K: u32 = 16u;
const GROUPS: u32 = TILE / 4u; // of four rows, or four columns

var<workgroup> tile_x: array<vec4<f32>, TILE_K * GROUPS>; // [TILE_K][GROUPS], four rows each
var<workgroup> tile_w: array<vec4<f32>, TILE_K * GROUPS>; // [TILE_K][GROUPS], four columns each

// The row and column of element i (0 to 15) among the 4 x 4 that invocation `lane` of tile `wid` computes.
fn cell(wid: vec3<u32>, lane: u32, i: u32) -> vec2<u32> {
    return vec2(wid.y * TILE + lane / GROUPS * 4u + i / 4u, wid.x * TILE + lane % GROUPS * 4u + i % 4u);
}

// The invocation's 4 x 4 elements: column i of the matrix is row i of the cell.
fn multiply(wid: vec3<u32>, lane: u32, depth: u32) -> mat4x4<f32> {
    let x_group = lane / GROUPS;
    let w_group = lane % GROUPS;
    // To load, neighbours take neighbouring k, so that their reads fall into one cache line.
    let load_k = lane % TILE_K;
    let load_group = lane / TILE_K;
    let m = wid.y * TILE + load_group * 4u;
    let n = wid.x * TILE + load_group * 4u;
    let slot = load_k * GROUPS + load_group;
    var row0 = vec4<f32>();
    var row1 = vec4<f32>();
    var row2 = vec4<f32>();
    var row3 = vec4<f32>();
    for (var first = 0u; first < depth; first += TILE_K) {
        let k = first + load_k;
        tile_x[slot] = vec4(load_x(m, k), load_x(m + 1u, k), load_x(m + 2u, k), load_x(m + 3u, k));
        tile_w[slot] = vec4(load_w(n, k), load_w(n + 1u, k), load_w(n + 2u, k), load_w(n + 3u, k));
        workgroupBarrier(); // the tiles are whole before they are read
        for (var i = 0u; i < TILE_K; i++) {
            let a = tile_x[i * GROUPS + x_group];
            let b = tile_w[i * GROUPS + w_group];
            row0 += a.x * b;
            row1 += a.y * b;
            row2 += a.z * b;
            row3 += a.w * b;
        }
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
    }
    return mat4x4(row0, row1, row2, row3);
}
