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

// Row m of x from k on; rows behind the last, and columns behind the end of K, repeat the last.
fn load_x4(m: u32, k: u32) -> vec4<f32> {
    let row = min(m, params.m - 1u) * depth();
    let last = depth() - 1u;
    return vec4(f32(x[row + k]), f32(x[row + min(k + 1u, last)]), f32(x[row + min(k + 2u, last)]), f32(x[row + min(k + 3u, last)]));
}

// Columns n to n + 3 of w^T at k, zeros behind the end of K.
fn load_w4(n: u32, k: u32) -> vec4<f32> {
    return select(vec4<f32>(), panel(n, min(k, depth() - 1u), depth()), k < depth());
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
    // The loads of four k are on their way at a time.
    for (var k = 4u * slice; k < depth(); k += 4u * SLICES) {
        let columns0 = load_w4(wid.x * 64u + group * 4u, k);
        let columns1 = load_w4(wid.x * 64u + group * 4u, k + 1u);
        let columns2 = load_w4(wid.x * 64u + group * 4u, k + 2u);
        let columns3 = load_w4(wid.x * 64u + group * 4u, k + 3u);
        let x0 = load_x4(m, k);
        let x1 = load_x4(m + 1u, k);
        let x2 = load_x4(m + 2u, k);
        let x3 = load_x4(m + 3u, k);
        sum0 += x0.x * columns0 + x0.y * columns1 + x0.z * columns2 + x0.w * columns3;
        sum1 += x1.x * columns0 + x1.y * columns1 + x1.z * columns2 + x1.w * columns3;
        sum2 += x2.x * columns0 + x2.y * columns1 + x2.z * columns2 + x2.w * columns3;
        sum3 += x3.x * columns0 + x3.y * columns1 + x3.z * columns2 + x3.w * columns3;
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
