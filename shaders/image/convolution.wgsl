// y[b, o, p] = sum over channel i and offset (u, v): x[b, i, stride * row(p) + u - top, stride * column(p) + v - left] * w[o, i, u, v], 0 outside of x
// The tiles of matmul/tile.wgsl; rows are output channels, columns are pixels of the batch, gathered as they are loaded. f32.
// Grid: (ceil(B P / 64), ceil(O / 64), 1). Needs 8.3 KiB of workgroup memory. Twin: cpu/convolution.rs
#import matmul/block_f32
#import matmul/tile

struct Params {
    batch: u32,
    channels: u32, // of x
    height: u32, // of x
    width: u32,
    outputs: u32, // O, channels of y
    output_height: u32,
    output_width: u32,
    size: u32, // of the square kernel
    stride: u32,
    top: u32, // rows of zeros above x
    left: u32, // columns of zeros left of x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, channels, height, width]
@group(0) @binding(2) var<storage, read> w: array<f32>; // [O, channels, size, size]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, O, output_height, output_width]

fn values() -> u32 {
    return params.channels * params.size * params.size;
}

fn pixels() -> u32 {
    return params.output_height * params.output_width;
}

fn load_x(m: u32, k: u32) -> f32 {
    if m < params.outputs && k < values() {
        return w[m * values() + k];
    }
    return 0.0;
}

fn load_w(n: u32, k: u32) -> f32 {
    if n >= params.batch * pixels() || k >= values() {
        return 0.0;
    }
    let v = k % params.size;
    let u = k / params.size % params.size;
    let channel = k / (params.size * params.size);
    // Rows and columns of the padded image: where they lie in the padding they wrap around, and so are outside.
    let row = n % pixels() / params.output_width * params.stride + u - params.top;
    let column = n % params.output_width * params.stride + v - params.left;
    if row >= params.height || column >= params.width {
        return 0.0;
    }
    let plane = n / pixels() * params.channels + channel;
    return x[(plane * params.height + row) * params.width + column];
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    return vec4(load_w(n, k), load_w(n + 1u, k), load_w(n + 2u, k), load_w(n + 3u, k));
}

@compute @workgroup_size(64)
fn convolution(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var blocks = multiply(wid, lane, 0u, values());
    for (var i = 0u; i < 64u; i++) {
        let at = place(wid, lane, i / 16u) + vec2(i / 4u % 4u, i % 4u);
        if at.x < params.outputs && at.y < params.batch * pixels() {
            y[(at.y / pixels() * params.outputs + at.x) * pixels() + at.y % pixels()] = blocks[i / 16u][i / 4u % 4u][i % 4u];
        }
    }
}
