// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]), y a band of columns of a wider matrix.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul.rs
#import activation
#import panel
#import matmul_call
#import matmul_tile

fn load_x(m: u32, k: u32) -> f32 {
    if m < params.m && k < params.k {
        return x[m * params.k + k];
    }
    return 0.0;
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    if k < params.k {
        return panel(n, k, params.k);
    }
    return vec4<f32>();
}

@compute @workgroup_size(INVOCATIONS)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, params.k);
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        finish(at.x, at.y, element(&sums, i) + bias_at(at.y));
    }
}
