// heat[p] = (w[p] - least w) / (largest w - least w), w[p] = the mean over heads of the weight of patch p: a row of attention as a map
// One workgroup; each invocation goes through every 64th patch. f32.
// Grid: (1, 1, 1).
#import common/reduce

struct Params {
    start: u32, // of the first head's weights of patches, in elements
    stride: u32, // from head to head
    heads: u32, // that are averaged
    patches: u32, // P
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>; // [B, H, Q, N]
@group(0) @binding(2) var<storage, read_write> heat: array<f32>; // [P]

@compute @workgroup_size(WORKGROUP)
fn heat_map(@builtin(local_invocation_index) lane: u32) {
    var highest = -3.4028234e38;
    var lowest = -3.4028234e38; // of the negated
    for (var p = lane; p < params.patches; p += WORKGROUP) {
        var sum = 0.0;
        for (var h = 0u; h < params.heads; h++) {
            sum += weights[params.start + h * params.stride + p];
        }
        heat[p] = sum;
        highest = max(highest, sum);
        lowest = max(lowest, -sum);
    }
    let largest = workgroup_max(highest, lane);
    let least = -workgroup_max(lowest, lane);
    // Each invocation scales what it has written itself.
    for (var p = lane; p < params.patches; p += WORKGROUP) {
        heat[p] = select(0.0, (heat[p] - least) / (largest - least), largest > least);
    }
}
