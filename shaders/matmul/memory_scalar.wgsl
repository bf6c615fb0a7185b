// The tiles of cooperative products in workgroup memory, an element a value, as Metal's matrices want them. Needs cooperative_tile.wgsl.
const ELEMENTS: u32 = 4u; // of four values

var<workgroup> tile_x: array<f16, PARTS * ROWS * X_STRIDE * 4u>; // [PARTS][ROWS][X_STRIDE * 4]
var<workgroup> tile_w: array<f16, PARTS * TILE_K * W_STRIDE * 4u>; // [PARTS][TILE_K][W_STRIDE * 4]
var<workgroup> tile_sums: array<f32, DOWN * ACROSS * SIDE * SIDE>; // [DOWN * ACROSS][SIDE][SIDE]

fn put_x(at: u32, values: vec4<f16>) {
    for (var i = 0u; i < 4u; i++) {
        tile_x[at * 4u + i] = values[i];
    }
}

fn put_w(at: u32, values: vec4<f16>) {
    for (var i = 0u; i < 4u; i++) {
        tile_w[at * 4u + i] = values[i];
    }
}

fn sums_at(at: u32) -> vec4<f32> {
    return vec4(tile_sums[at * 4u], tile_sums[at * 4u + 1u], tile_sums[at * 4u + 2u], tile_sums[at * 4u + 3u]);
}
