// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, with x and w in f16, K and N multiples of 4.
// A tile of ROWS x COLUMNS a workgroup by cooperative matrices, as cooperative_tile.wgsl has it; x and w pass through workgroup memory, the next TILE_K of both on their way in registers; f32 sums.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), slices). Needs cooperative matrices, and subgroups of LANES. Twin: cpu/matmul.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call_vec4
#import common/coop_16
#import matmul/cooperative_tile
#import matmul/memory_vec4

@group(0) @binding(1) var<storage, read> x: array<vec4<f16>>; // [M, K / 4]
@group(0) @binding(2) var<storage, read> w: array<vec4<f16>>; // [ceil(N / 64), K, 64]

alias Chunk = vec4<f16>;
const PARTS: u32 = 1u;

fn factors_at(m: u32, n: u32) -> vec4<f32> {
    return vec4(1.0);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_cooperative(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    var next: Chunks;
    var lhs: array<Lhs, MATRICES_DOWN>;
    var rhs: array<Rhs, MATRICES_ACROSS>;
    var sums: array<Acc, MATRICES_DOWN * MATRICES_ACROSS>;
    let last = last_tile(wid.z);
    let start = min(first_k(wid.z), last);
    var starts = starts(wid, index, start);
    prefetch(&next, &starts, start, index);
    for (var first = first_k(wid.z); first < end_k(wid.z); first += TILE_K) {
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
        #unroll
        for (var i = 0u; i < X_CHUNKS; i++) {
            if is_of_x(index, i) {
                put_x(place_of_x(index, i), next.x[i]);
            }
        }
        #unroll
        for (var i = 0u; i < W_CHUNKS; i++) {
            if is_of_w(index, i) {
                put_w(place_of_w(index, i), next.w[i]);
            }
        }
        workgroupBarrier(); // the tiles are whole before they are read
        advance(&starts, select(0u, TILE_K, first < last));
        prefetch(&next, &starts, min(first + TILE_K, last), index);
        #unroll
        for (var step = 0u; step < STEPS; step++) {
            #unroll
            for (var i = 0u; i < MATRICES_DOWN; i++) {
                let at = first_row(subgroup, i) * X_STRIDE + step * SIDE / 4u;
                lhs[i] = coopLoadT<Lhs>(&tile_x[at * ELEMENTS], X_STRIDE * ELEMENTS);
            }
            #unroll
            for (var j = 0u; j < MATRICES_ACROSS; j++) {
                let at = step * SIDE * W_STRIDE + first_column(subgroup, j) / 4u;
                rhs[j] = coopLoadT<Rhs>(&tile_w[at * ELEMENTS], W_STRIDE * ELEMENTS);
            }
            #unroll
            for (var i = 0u; i < MATRICES_DOWN; i++) {
                #unroll
                for (var j = 0u; j < MATRICES_ACROSS; j++) {
                    sums[i * MATRICES_ACROSS + j] = coopMultiplyAdd(lhs[i], rhs[j], sums[i * MATRICES_ACROSS + j]);
                }
            }
        }
    }
    var columns = columns_of(wid, subgroup, lane);
    #unroll
    for (var i = 0u; i < MATRICES_DOWN; i++) {
        let row = first_row(subgroup, i);
        var all = before(wid, row, subgroup, lane);
        #unroll
        for (var j = 0u; j < MATRICES_ACROSS; j++) {
            finish_matrix(wid, sums[i * MATRICES_ACROSS + j], row, first_column(subgroup, j), subgroup, lane, columns[j], all[j]);
        }
    }
}
