// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul.wgsl computes, as one reads it.
// One invocation an element of y; f32 sum in order of k.
// Grid: (ceil(N / 64), M, 1). Needs nothing. Twin: cpu/matmul.rs
#import activation
#import rows
#import panel
#import matmul_call

@compute @workgroup_size(64)
fn matmul_naive(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = wid.y;
    let n = wid.x * 64u + lane;
    var sum = 0.0;
    for (var k = 0u; k < params.k; k++) {
        sum += x[m * params.k + k] * panel(n, k, params.k)[n % 4u];
    }
    finish(m, n, sum + bias_at(n));
}
