// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, as one reads it.
// One invocation an element of y; f32 sum in order of k.
// Grid: (ceil(N / 64), M, 1). Needs nothing. Twin: cpu/matmul.rs
#import common/activation
#import common/x_f32
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call

@group(0) @binding(1) var<storage, read> x: array<X>; // [M, K]

@compute @workgroup_size(64)
fn matmul_naive(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = wid.y;
    let n = wid.x * 64u + lane;
    var sum = 0.0;
    for (var k = 0u; k < depth(); k++) {
        sum += f32(x[m * depth() + k]) * panel(n, k, depth())[n % 4u];
    }
    finish(0u, m, n, sum + bias_at(n));
}
