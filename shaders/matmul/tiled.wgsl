// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]), y a band of columns of a wider matrix.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), slices). Needs 4 TILE_K (ROWS + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul.rs
#import common/activation
#import common/x_f32
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call
#import matmul/tile

@group(0) @binding(1) var<storage, read> x: array<X>; // [M, K]

fn load_x(m: u32, k: u32) -> f32 {
    if m < params.m && k < depth() {
        return f32(x[m * depth() + k]);
    }
    return 0.0;
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    if n < params.n && k < depth() {
        return panel(n, k, depth());
    }
    return vec4<f32>();
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, first_k(wid.z), end_k(wid.z));
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        finish(wid.z, at.x, at.y, element(&sums, i) + bias_at(at.y));
    }
}
