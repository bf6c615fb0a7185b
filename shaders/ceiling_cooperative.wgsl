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
    let lhs = coopLoadT<Lhs>(&tile_x[0], SIDE);
    let rhs = coopLoadT<Rhs>(&tile_x[0], SIDE);
    var a = Acc();
    var b = Acc();
    var c = Acc();
    var d = Acc();
    for (var step = 0u; step < STEPS; step++) {
        a = coopMultiplyAdd(lhs, rhs, a);
        b = coopMultiplyAdd(lhs, rhs, b);
        c = coopMultiplyAdd(lhs, rhs, c);
        d = coopMultiplyAdd(lhs, rhs, d);
    }
    coopStoreT(a + b + c + d, &tile_sums[0], SIDE);
    workgroupBarrier(); // the sums are whole before they are read
    for (var i = lane; i < SIDE * SIDE; i += LANES) {
        if first < params.len {
            y[first + i] = tile_sums[i];
        }
    }
}
