// y[t] = 4 STEPS x[t] . x[t], added up product by product: what a device multiplies at the most by cooperative matrices
// One subgroup a matrix, four chains of STEPS products, x in f16 and sums in f32.
// Grid: len / SIDE / SIDE, folded. Needs cooperative matrices, subgroups of LANES, and len a multiple of SIDE x SIDE. Twin: cpu/ceiling.rs
#import common/grid
#import common/coop_16

const LANES: u32 = 32u; // of a subgroup
const STEPS: u32 = 256u;

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [len / SIDE / SIDE, SIDE, SIDE]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [len / SIDE / SIDE, SIDE, SIDE]

var<workgroup> tile_x: array<f16, SIDE * SIDE>; // [SIDE][SIDE]
var<workgroup> tile_sums: array<f32, SIDE * SIDE>; // [SIDE][SIDE]

@compute @workgroup_size(LANES)
fn ceiling_cooperative(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = fold(wid, count);
    let first = tile * SIDE * SIDE;
    for (var i = lane; i < SIDE * SIDE; i += LANES) {
        if first < params.len { // workgroups behind the last do nothing of use, but together
            tile_x[i] = f16(x[first + i]);
        }
    }
    workgroupBarrier(); // the tile is whole before it is read
    let left = coopLoadT<Left>(&tile_x[0], SIDE);
    let right = coopLoadT<Right>(&tile_x[0], SIDE);
    var a = Sum();
    var b = Sum();
    var c = Sum();
    var d = Sum();
    for (var step = 0u; step < STEPS; step++) {
        a = coopMultiplyAdd(left, right, a);
        b = coopMultiplyAdd(left, right, b);
        c = coopMultiplyAdd(left, right, c);
        d = coopMultiplyAdd(left, right, d);
    }
    coopStoreT(a + b + c + d, &tile_sums[0], SIDE);
    workgroupBarrier(); // the sums are whole before they are read
    for (var i = lane; i < SIDE * SIDE; i += LANES) {
        if first < params.len {
            y[first + i] = tile_sums[i];
        }
    }
}
