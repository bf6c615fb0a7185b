// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, for few rows.
// 4 rows of 64 columns a workgroup, K split over SLICES invocations for each 4 columns, added up through workgroup memory; f32 sums.
// Grid: (ceil(N / 64), ceil(M / 4), 1). Needs 8 KiB of workgroup memory. Twin: cpu/matmul.rs
#import common/activation
#import common/x_f32
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call

const SLICES: u32 = 8u;

@group(0) @binding(1) var<storage, read> x: array<X>; // [M, K]

var<workgroup> tile_sums: array<vec4<f32>, SLICES * 64u>; // [SLICES][4 rows][16 groups of four columns]

// Row m of x at k; rows behind the last repeat it.
fn load_x(m: u32, k: u32) -> f32 {
    return f32(x[min(m, params.m - 1u) * depth() + k]);
}

@compute @workgroup_size(128)
fn matmul_skinny(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = wid.y * 4u;
    let group = lane % 16u;
    let slice = lane / 16u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var k = slice; k < depth(); k += SLICES) {
        let columns = panel(wid.x * 64u + group * 4u, k, depth());
        sum0 += load_x(m, k) * columns;
        sum1 += load_x(m + 1u, k) * columns;
        sum2 += load_x(m + 2u, k) * columns;
        sum3 += load_x(m + 3u, k) * columns;
    }
    tile_sums[slice * 64u + group] = sum0;
    tile_sums[slice * 64u + 16u + group] = sum1;
    tile_sums[slice * 64u + 32u + group] = sum2;
    tile_sums[slice * 64u + 48u + group] = sum3;
    workgroupBarrier(); // each slice's sums are written before they are added up
    for (var i = lane; i < 256u; i += 128u) {
        var sum = 0.0;
        for (var part = 0u; part < SLICES; part++) {
            sum += tile_sums[part * 64u + i / 4u][i % 4u];
        }
        let n = wid.x * 64u + i % 64u;
        finish(0u, m + i / 64u, n, sum + bias_at(n));
    }
}
