// y[p] = scale * activation(sum_c x[p, c] * w[c] + bias): the last layer of a depth head, which has one channel
// One invocation a pixel; f32 sum in order of c.
// Grid: ceil(pixels / 64), folded. Needs nothing. Twin: cpu/depth.rs
#import common/activation
#import common/grid
#import common/x_f32

struct Params {
    pixels: u32, // of all images
    channels: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // [pixels, channels]
@group(0) @binding(2) var<storage, read> w: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [1]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [pixels]

@compute @workgroup_size(64)
fn depth(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pixel = fold(wid, count) * 64u + lane;
    if pixel >= params.pixels {
        return;
    }
    var sum = bias[0];
    for (var c = 0u; c < params.channels; c++) {
        sum += f32(x[pixel * params.channels + c]) * w[c];
    }
    y[pixel] = params.scale * activate(sum);
}
