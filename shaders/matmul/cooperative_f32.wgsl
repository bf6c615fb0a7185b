// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, K and N multiples of 4, by three products of f16 (Ootomo and Yokota 2022): x = h + l / 2048, w = h' + l' / 2048, x . w = h . h' + (h . l' + l . h') / 2048.
// A tile of ROWS x COLUMNS a workgroup by cooperative matrices, as cooperative_tile.wgsl has it; rows of x and columns of w are scaled by powers.wgsl, so that upper and lower parts fit f16; f32 sums.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), slices). Needs cooperative matrices, and subgroups of LANES. Twin: cpu/matmul.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call_vec4
#import common/coop_16
#import common/parts
#import matmul/cooperative_tile
#import matmul/memory_vec4

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [M, K / 4]
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>; // [ceil(N / 64), K, 64]
@group(0) @binding(6) var<storage, read> powers: array<f32>; // [M + N], of two

alias Chunk = vec4<f32>;
const PARTS: u32 = 2u; // upper ones, then lower ones
const LOW_X: u32 = ROWS * X_STRIDE; // where the lower ones begin
const LOW_W: u32 = TILE_K * W_STRIDE;

// The powers of two of an invocation's chunks.
struct Powers {
    x: array<f32, X_CHUNKS>,
    w: array<vec4<f32>, W_CHUNKS>,
}

fn power_of_x(m: u32) -> f32 {
    return powers[min(m, params.m - 1u)];
}

fn powers_of_w(n: u32) -> vec4<f32> {
    let at = params.m + min(n, params.n - 4u);
    return vec4(powers[at], powers[at + 1u], powers[at + 2u], powers[at + 3u]);
}

fn powers_of(wid: vec3<u32>, index: u32) -> Powers {
    var powers: Powers;
    #unroll
    for (var i = 0u; i < X_CHUNKS; i++) {
        powers.x[i] = power_of_x(first_of_rows(wid) + (index + i * INVOCATIONS) / (TILE_K / 4u));
    }
    #unroll
    for (var i = 0u; i < W_CHUNKS; i++) {
        powers.w[i] = powers_of_w(wid.x * COLUMNS + (index + i * INVOCATIONS) % (COLUMNS / 4u) * 4u);
    }
    return powers;
}

// One division for both powers: what either of them makes of the sums by itself may be too large for f32.
fn factors_at(m: u32, n: u32) -> vec4<f32> {
    return 1.0 / power_of_x(m) / powers_of_w(n);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_cooperative_f32(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    var scale = powers_of(wid, index);
    var next: Chunks;
    var high_lhs: array<Lhs, MATRICES_DOWN>;
    var low_lhs: array<Lhs, MATRICES_DOWN>;
    var sums: array<Acc, MATRICES_DOWN * MATRICES_ACROSS>;
    var cross: array<Acc, MATRICES_DOWN * MATRICES_ACROSS>;
    let last = last_tile(wid.z);
    let start = min(first_k(wid.z), last);
    var starts = starts(wid, index, start);
    prefetch(&next, &starts, start, index);
    for (var first = first_k(wid.z); first < end_k(wid.z); first += TILE_K) {
        workgroupBarrier(); // the tiles are read before the next ones overwrite them
        #unroll
        for (var i = 0u; i < X_CHUNKS; i++) {
            if is_of_x(index, i) {
                let values = next.x[i] * scale.x[i];
                put_x(place_of_x(index, i), vec4<f16>(upper(values)));
                put_x(LOW_X + place_of_x(index, i), lower(values));
            }
        }
        #unroll
        for (var i = 0u; i < W_CHUNKS; i++) {
            if is_of_w(index, i) {
                let values = next.w[i] * scale.w[i];
                put_w(place_of_w(index, i), vec4<f16>(upper(values)));
                put_w(LOW_W + place_of_w(index, i), lower(values));
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
                high_lhs[i] = coopLoadT<Lhs>(&tile_x[at], X_STRIDE);
                low_lhs[i] = coopLoadT<Lhs>(&tile_x[LOW_X + at], X_STRIDE);
            }
            #unroll
            for (var j = 0u; j < MATRICES_ACROSS; j++) {
                let at = step * SIDE * W_STRIDE + first_column(subgroup, j) / 4u;
                let high_rhs = coopLoadT<Rhs>(&tile_w[at], W_STRIDE);
                let low_rhs = coopLoadT<Rhs>(&tile_w[LOW_W + at], W_STRIDE);
                #unroll
                for (var i = 0u; i < MATRICES_DOWN; i++) {
                    let sum = i * MATRICES_ACROSS + j;
                    // Matrix units round sums towards zero; these are added by what rounds to the nearest.
                    sums[sum] = sums[sum] + coopMultiplyAdd(high_lhs[i], high_rhs, Acc());
                    cross[sum] = coopMultiplyAdd(high_lhs[i], low_rhs, cross[sum]);
                    cross[sum] = coopMultiplyAdd(low_lhs[i], high_rhs, cross[sum]);
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
            let sum = i * MATRICES_ACROSS + j;
            let whole = sums[sum] + cross[sum] * (1.0 / LOW);
            finish_matrix(wid, whole, row, first_column(subgroup, j), subgroup, lane, columns[j], all[j]);
        }
    }
}
