// y[b, p, (i, u, v)] = pixels[b, i, u, v] of patch p, 0 for pixels outside of the image: the flattened patches (Dosovitskiy et al. 2021, equation 1)
// A workgroup one patch: no element is divided by anything but constants. Pixels in f32.
// Grid: B P, folded. Needs nothing. Twin: cpu/unfold.rs
#import common/grid
#import common/y_f32

const INVOCATIONS: u32 = 256u;
const CHANNELS: u32 = 3u;
const PATCH_HEIGHT: u32 = 16u;
const PATCH_WIDTH: u32 = 16u;
const VALUES: u32 = CHANNELS * PATCH_HEIGHT * PATCH_WIDTH;

struct Params {
    batch: u32,
    image_height: u32, // pixels; what the grid does not cover at the lower and right edge is ignored
    image_width: u32,
    grid_height: u32, // patches
    grid_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>; // [B, channels, image_height, image_width]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [B, P, channels, patch_height, patch_width]

@compute @workgroup_size(INVOCATIONS)
fn unfold(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = fold(wid, count);
    if p >= params.batch * params.grid_height * params.grid_width {
        return;
    }
    let top = p / params.grid_width % params.grid_height * PATCH_HEIGHT;
    let left = p % params.grid_width * PATCH_WIDTH;
    let image = p / (params.grid_width * params.grid_height);
    for (var i = lane; i < VALUES; i += INVOCATIONS) {
        let row = top + i / PATCH_WIDTH % PATCH_HEIGHT;
        let column = left + i % PATCH_WIDTH;
        let channel = i / (PATCH_WIDTH * PATCH_HEIGHT);
        var pixel = 0.0;
        if row < params.image_height && column < params.image_width {
            pixel = pixels[((image * CHANNELS + channel) * params.image_height + row) * params.image_width + column];
        }
        y[p * VALUES + i] = narrow(pixel);
    }
}
