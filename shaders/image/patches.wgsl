// How images are cut into patches.
struct Params {
    batch: u32,
    channels: u32,
    image_height: u32, // pixels; what the grid does not cover at the lower and right edge is ignored
    image_width: u32,
    grid_height: u32, // patches
    grid_width: u32,
    patch_height: u32,
    patch_width: u32,
    width: u32, // C
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>; // [B, channels, image_height, image_width]
