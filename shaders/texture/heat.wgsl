// heat[p] = (w[p] - least w) / (largest w - least w), w[p] = the mean over heads of the weight of patch p: a row of attention as a map
// One workgroup; each invocation goes through every 256th patch. f32.
// Grid: (1, 1, 1).
struct Params {
    start: u32, // of the first head's weights of patches, in elements
    stride: u32, // from head to head
    heads: u32, // that are averaged
    patches: u32, // P
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>; // [B, H, Q, N]
@group(0) @binding(2) var<storage, read_write> heat: array<f32>; // [P]

const WORKGROUP: u32 = 256u;

var<workgroup> tile_range: array<vec2<f32>, WORKGROUP>; // largest, and largest of the negated

@compute @workgroup_size(WORKGROUP)
fn heat_map(@builtin(local_invocation_index) lane: u32) {
    var range = vec2(-3.4028234e38);
    for (var p = lane; p < params.patches; p += WORKGROUP) {
        var sum = 0.0;
        for (var h = 0u; h < params.heads; h++) {
            sum += weights[params.start + h * params.stride + p];
        }
        heat[p] = sum;
        range = max(range, vec2(sum, -sum));
    }
    tile_range[lane] = range;
    workgroupBarrier(); // each range is written before a neighbour reads it
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            tile_range[lane] = max(tile_range[lane], tile_range[lane + half]);
        }
        workgroupBarrier(); // this level's ranges are written before the next level reads them
    }
    let largest = tile_range[0].x;
    let least = -tile_range[0].y;
    // Each invocation scales what it has written itself.
    for (var p = lane; p < params.patches; p += WORKGROUP) {
        heat[p] = select(0.0, (heat[p] - least) / (largest - least), largest > least);
    }
}
