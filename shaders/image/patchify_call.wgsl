// What else the patch projection reads and writes. Needs patches.wgsl.
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, P, C]

fn patch_values() -> u32 {
    return params.channels * params.patch_height * params.patch_width;
}

fn rows() -> u32 {
    return params.batch * params.grid_height * params.grid_width;
}
