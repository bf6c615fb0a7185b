// y[m] = the power of two that brings the largest magnitude of row m of x to between 2^12 and 2^13; y[M + n] that of column n of w^T; K and N multiples of 4.
// A workgroup a row, or 16 columns, the depth K shared out among its invocations.
// Grid: M + ceil(N / 16), folded. Needs nothing. Twin: cpu/powers.rs
#import common/grid
#import common/power
#import common/reduce
#import matmul/sizes

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [M, K / 4]
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>; // [ceil(N / 64), K, 64]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [M + N]

const GROUPS: u32 = 4u; // of four columns

var<workgroup> tile_largest: array<vec4<f32>, WORKGROUP>; // [WORKGROUP / GROUPS][GROUPS]

@compute @workgroup_size(WORKGROUP)
fn matmul_powers(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = fold(wid, count);
    if number < params.m {
        var four = vec4<f32>();
        for (var k = lane; k < depth() / 4u; k += WORKGROUP) {
            four = max(four, abs(x[number * (depth() / 4u) + k]));
        }
        let largest = workgroup_max(max(max(four.x, four.y), max(four.z, four.w)), lane);
        if lane == 0u {
            y[number] = power(largest);
        }
        return;
    }
    let n = ((number - params.m) * GROUPS + lane % GROUPS) * 4u;
    var columns = vec4<f32>();
    if n < params.n {
        for (var k = lane / GROUPS; k < depth(); k += WORKGROUP / GROUPS) {
            columns = max(columns, abs(w[(n / 64u * depth() + k) * 16u + n % 64u / 4u]));
        }
    }
    tile_largest[lane] = columns;
    workgroupBarrier(); // each part's maxima are written before they are compared
    if lane < GROUPS {
        for (var part = 1u; part < WORKGROUP / GROUPS; part++) {
            columns = max(columns, tile_largest[part * GROUPS + lane]);
        }
        for (var i = 0u; i < min(4u, params.n - min(n, params.n)); i++) {
            y[params.m + n + i] = power(columns[i]);
        }
    }
}
