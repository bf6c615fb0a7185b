// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]), y a band of columns of a wider matrix.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), slices). Needs 4 TILE_K (ROWS + 4 + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul.rs
#import common/activation
#import common/x_f32
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call
#import matmul/block_f32
#import matmul/tile

@group(0) @binding(1) var<storage, read> x: array<X>; // [M, K], or a map

const WHOLE: u32 = 0u; // 1 if K is known to be a multiple of TILE_K, so that no load tests for its end

fn is_inside(k: u32) -> bool {
    return WHOLE == 1u || k < depth();
}

// Rows and columns behind the last repeat it, so that no load tests for them; what becomes of them is not written.
fn load_x(m: u32, k: u32) -> f32 {
    if !is_inside(k) {
        return 0.0;
    }
    let at = place_in_x(min(m, params.m - 1u), k);
    if is_padding(at) {
        return 0.0;
    }
    if RECTIFIED == 1u {
        return max(f32(x[at]), 0.0);
    }
    return f32(x[at]);
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    if is_inside(k) {
        return panel(min(n, (params.n - 1u) / 4u * 4u), k, depth());
    }
    return vec4<f32>();
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_tiled(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var blocks = multiply(wid, lane, first_k(wid.z), end_k(wid.z));
    #unroll
    for (var block = 0u; block < 4u; block++) {
        let at = place(wid, lane, block);
        #unroll
        for (var i = 0u; i < 4u; i++) {
            finish4(wid.z, at.x + i, at.y, blocks[block][i]);
        }
    }
}
