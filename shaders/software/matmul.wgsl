// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul/tiled.wgsl computes, without workgroup memory.
// 40 x 64 a subgroup of 8: an invocation has 8 columns, loads x of every 8th row and hands it round; all indices of sums are constants; f32 sums in order of k.
// Grid: (ceil(N / 64), ceil(M / 40), 1). Needs subgroups of 8. Twin: cpu/matmul.rs
#import common/activation
#import common/y_f32
#import matmul/w_f32
#import matmul/sizes
#import matmul/call

@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K], or a map

// Of 8 rows, 4 columns each.
alias Sums = array<vec4<f32>, 8>;

// Adds the products of 8 elements of x, of which each invocation has one, with 4 columns.
fn add(sums: ptr<function, Sums>, x8: f32, columns: vec4<f32>) {
    (*sums)[0] += subgroupBroadcast(x8, 0u) * columns;
    (*sums)[1] += subgroupBroadcast(x8, 1u) * columns;
    (*sums)[2] += subgroupBroadcast(x8, 2u) * columns;
    (*sums)[3] += subgroupBroadcast(x8, 3u) * columns;
    (*sums)[4] += subgroupBroadcast(x8, 4u) * columns;
    (*sums)[5] += subgroupBroadcast(x8, 5u) * columns;
    (*sums)[6] += subgroupBroadcast(x8, 6u) * columns;
    (*sums)[7] += subgroupBroadcast(x8, 7u) * columns;
}

// Value k of a segment that begins at `start`.
fn value(start: u32, k: u32) -> f32 {
    let found = x[select(start, 0u, is_padding(start)) + k];
    let least = select(found, max(found, 0.0), RECTIFIED == 1u);
    return select(least, 0.0, is_padding(start));
}

fn write4(m: u32, n: u32, sums: vec4<f32>) {
    finish(0u, m, n, sums.x);
    finish(0u, m, n + 1u, sums.y);
    finish(0u, m, n + 2u, sums.z);
    finish(0u, m, n + 3u, sums.w);
}

// Row i of a block, by comparisons: an index that is no constant would keep the sums in memory.
fn pick(sums: ptr<function, Sums>, i: u32) -> vec4<f32> {
    var row = (*sums)[0];
    if i == 1u { row = (*sums)[1]; }
    if i == 2u { row = (*sums)[2]; }
    if i == 3u { row = (*sums)[3]; }
    if i == 4u { row = (*sums)[4]; }
    if i == 5u { row = (*sums)[5]; }
    if i == 6u { row = (*sums)[6]; }
    if i == 7u { row = (*sums)[7]; }
    return row;
}

@compute @workgroup_size(8)
fn matmul_software(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = wid.y * 40u;
    let n = wid.x * 64u + lane * 4u; // and n + 32
    var left0: Sums;
    var left1: Sums;
    var left2: Sums;
    var left3: Sums;
    var left4: Sums;
    var right0: Sums;
    var right1: Sums;
    var right2: Sums;
    var right3: Sums;
    var right4: Sums;
    for (var segment = 0u; segment < SEGMENTS; segment++) {
        let first = segment * segment_depth();
        let row0 = start_of(min(m + lane, params.m - 1u), segment);
        let row1 = start_of(min(m + 8u + lane, params.m - 1u), segment);
        let row2 = start_of(min(m + 16u + lane, params.m - 1u), segment);
        let row3 = start_of(min(m + 24u + lane, params.m - 1u), segment);
        let row4 = start_of(min(m + 32u + lane, params.m - 1u), segment);
        for (var k = 0u; k < segment_depth(); k++) {
            let left = panel(n, first + k, depth());
            let right = panel(n + 32u, first + k, depth());
            let x0 = value(row0, k);
            add(&left0, x0, left);
            add(&right0, x0, right);
            let x1 = value(row1, k);
            add(&left1, x1, left);
            add(&right1, x1, right);
            let x2 = value(row2, k);
            add(&left2, x2, left);
            add(&right2, x2, right);
            let x3 = value(row3, k);
            add(&left3, x3, left);
            add(&right3, x3, right);
            let x4 = value(row4, k);
            add(&left4, x4, left);
            add(&right4, x4, right);
        }
    }
    let left_bias = vec4(bias_at(n), bias_at(n + 1u), bias_at(n + 2u), bias_at(n + 3u));
    let right_bias = vec4(bias_at(n + 32u), bias_at(n + 33u), bias_at(n + 34u), bias_at(n + 35u));
    // Loops, so that the epilogue is compiled once and not 320 times.
    for (var first = 0u; first < min(40u, params.m - m); first += 8u) {
        var left = left0;
        var right = right0;
        if first == 8u { left = left1; right = right1; }
        if first == 16u { left = left2; right = right2; }
        if first == 24u { left = left3; right = right3; }
        if first == 32u { left = left4; right = right4; }
        for (var i = 0u; i < min(8u, params.m - m - first); i++) {
            write4(m + first + i, n, pick(&left, i) + left_bias);
            write4(m + first + i, n + 32u, pick(&right, i) + right_bias);
        }
    }
}
