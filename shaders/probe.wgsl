// Subgroups of a pipeline with cooperative matrices: for each invocation how many share its subgroup, the subgroup's number, its own number in that, and
// an element of a product of matrices of ones, which is SIDE. Run once by src/execution/gpu/probe.rs.
#import common/coop_16

const INVOCATIONS: u32 = 128u;
const SUBGROUPS: u32 = 16u; // the most; with more of them, of fewer than 8, the numbers give it away

@group(0) @binding(0) var<storage, read_write> found: array<vec4<u32>>; // [INVOCATIONS]

var<workgroup> ones: array<f16, SIDE * SIDE>; // [SIDE][SIDE]
var<workgroup> products: array<f32, SUBGROUPS * SIDE * SIDE>; // [SUBGROUPS][SIDE][SIDE]

@compute @workgroup_size(INVOCATIONS)
fn probe(
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    for (var i = index; i < SIDE * SIDE; i += INVOCATIONS) {
        ones[i] = 1.0h;
    }
    workgroupBarrier(); // all ones are there
    let lhs = coopLoadT<Lhs>(&ones[0], SIDE);
    let rhs = coopLoadT<Rhs>(&ones[0], SIDE);
    let own = min(subgroup, SUBGROUPS - 1u) * SIDE * SIDE;
    coopStoreT(coopMultiplyAdd(lhs, rhs, Acc()), &products[own], SIDE);
    workgroupBarrier(); // all products are there
    found[index] = vec4(subgroupAdd(1u), subgroup, lane, u32(products[own + lane % (SIDE * SIDE)]));
}
