// y[b, p, (i, u, v)] = pixels[b, i, u, v] of patch p, 0 for pixels outside of the image: the flattened patches (Dosovitskiy et al. 2021, equation 1)
// A workgroup BLOCK elements of y. Pixels in f32.
// Grid: ceil(B P values / BLOCK), folded. Needs nothing. Twin: cpu/unfold.rs
#import common/block
#import common/grid
#import common/y_f32

struct Params {
    batch: u32,
    channels: u32,
    image_height: u32, // pixels; what the grid does not cover at the lower and right edge is ignored
    image_width: u32,
    grid_height: u32, // patches
    grid_width: u32,
    patch_height: u32,
    patch_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>; // [B, channels, image_height, image_width]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [B, P, channels, patch_height, patch_width]

@compute @workgroup_size(INVOCATIONS)
fn unfold(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    let values = params.channels * params.patch_height * params.patch_width;
    let len = params.batch * params.grid_height * params.grid_width * values;
    for (var element = start + lane; element < min(start + BLOCK, len); element += INVOCATIONS) {
        let v = element % params.patch_width;
        let u = element / params.patch_width % params.patch_height;
        let channel = element / (params.patch_width * params.patch_height) % params.channels;
        let p = element / values;
        let across = p % params.grid_width;
        let down = p / params.grid_width % params.grid_height;
        let image = p / (params.grid_width * params.grid_height);
        let row = down * params.patch_height + u;
        let column = across * params.patch_width + v;
        var pixel = 0.0;
        if row < params.image_height && column < params.image_width {
            pixel = pixels[((image * params.channels + channel) * params.image_height + row) * params.image_width + column];
        }
        y[element] = narrow(pixel);
    }
}
