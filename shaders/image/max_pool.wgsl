// y[c, r, s] = max over offset (u, v) within x: x[c, stride * r + u - top, stride * s + v - left]
// One invocation an element of y; what lies outside of x takes no part. f32.
// Grid: ceil(planes output_height output_width / 64), folded. Needs nothing. Twin: cpu/max_pool.rs
#import common/grid

struct Params {
    planes: u32, // B times channels
    height: u32, // of x
    width: u32,
    output_height: u32,
    output_width: u32,
    size: u32, // of the square window
    stride: u32,
    top: u32, // rows of the first window above x
    left: u32, // columns of the first window left of x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [planes, height, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [planes, output_height, output_width]

@compute @workgroup_size(64)
fn max_pool(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = fold(wid, count) * 64u + lane;
    let across = i % params.output_width;
    let down = i / params.output_width % params.output_height;
    let plane = i / (params.output_width * params.output_height);
    if plane >= params.planes {
        return;
    }
    var largest = -3.4028234e38;
    for (var u = 0u; u < params.size; u++) {
        for (var v = 0u; v < params.size; v++) {
            // Above and left of x they wrap around, and so are outside.
            let row = down * params.stride + u - params.top;
            let column = across * params.stride + v - params.left;
            if row < params.height && column < params.width {
                largest = max(largest, x[(plane * params.height + row) * params.width + column]);
            }
        }
    }
    y[i] = largest;
}
