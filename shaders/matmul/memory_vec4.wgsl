// The tiles of cooperative products in workgroup memory, four values an element. Needs cooperative_tile.wgsl.
const ELEMENTS: u32 = 1u; // of four values

var<workgroup> tile_x: array<vec4<f16>, PARTS * ROWS * X_STRIDE>; // [PARTS][ROWS][X_STRIDE]
var<workgroup> tile_w: array<vec4<f16>, PARTS * TILE_K * W_STRIDE>; // [PARTS][TILE_K][W_STRIDE]
var<workgroup> tile_sums: array<vec4<f32>, DOWN * ACROSS * SIDE * SIDE / 4u>; // [DOWN * ACROSS][SIDE][SIDE / 4]

fn put_x(at: u32, values: vec4<f16>) {
    tile_x[at] = values;
}

fn put_w(at: u32, values: vec4<f16>) {
    tile_w[at] = values;
}

fn sums_at(at: u32) -> vec4<f32> {
    return tile_sums[at];
}
