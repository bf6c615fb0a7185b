// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what matmul.wgsl computes, without workgroup memory.
// A 40 x 64 tile of y a subgroup: an invocation has 8 columns, loads x of every 8th row and hands it round; all indices of sums are constants; f32 sums in order of k.
// Grid: (ceil(N / 64), ceil(M / 40), 1). Needs subgroups of 8. Twin: cpu/matmul.rs
#import activation
#import panel
#import matmul_call

// Of 8 rows, 4 columns each.
alias Sums = array<vec4<f32>, 8>;

// Adds the products of 8 rows, of which each invocation has one, with 4 columns.
fn add(sums: ptr<function, Sums>, rows: f32, columns: vec4<f32>) {
    (*sums)[0] += subgroupBroadcast(rows, 0u) * columns;
    (*sums)[1] += subgroupBroadcast(rows, 1u) * columns;
    (*sums)[2] += subgroupBroadcast(rows, 2u) * columns;
    (*sums)[3] += subgroupBroadcast(rows, 3u) * columns;
    (*sums)[4] += subgroupBroadcast(rows, 4u) * columns;
    (*sums)[5] += subgroupBroadcast(rows, 5u) * columns;
    (*sums)[6] += subgroupBroadcast(rows, 6u) * columns;
    (*sums)[7] += subgroupBroadcast(rows, 7u) * columns;
}

fn finish4(m: u32, n: u32, sums: vec4<f32>) {
    finish(m, n, sums.x);
    finish(m, n + 1u, sums.y);
    finish(m, n + 2u, sums.z);
    finish(m, n + 3u, sums.w);
}

fn finish_rows(m: u32, n: u32, bias4: vec4<f32>, sums: ptr<function, Sums>) {
    finish4(m, n, (*sums)[0] + bias4);
    finish4(m + 1u, n, (*sums)[1] + bias4);
    finish4(m + 2u, n, (*sums)[2] + bias4);
    finish4(m + 3u, n, (*sums)[3] + bias4);
    finish4(m + 4u, n, (*sums)[4] + bias4);
    finish4(m + 5u, n, (*sums)[5] + bias4);
    finish4(m + 6u, n, (*sums)[6] + bias4);
    finish4(m + 7u, n, (*sums)[7] + bias4);
}

// Where row m of x begins; rows behind the last repeat it.
fn row(m: u32) -> u32 {
    return min(m, params.m - 1u) * params.k;
}

@compute @workgroup_size(8)
fn matmul_subgroup(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m = wid.y * 40u;
    let n = wid.x * 64u + lane * 4u; // and n + 32
    let row0 = row(m + lane);
    let row1 = row(m + 8u + lane);
    let row2 = row(m + 16u + lane);
    let row3 = row(m + 24u + lane);
    let row4 = row(m + 32u + lane);
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
    for (var k = 0u; k < params.k; k++) {
        let left = panel(n, k, params.k);
        let right = panel(n + 32u, k, params.k);
        let x0 = x[row0 + k];
        add(&left0, x0, left);
        add(&right0, x0, right);
        let x1 = x[row1 + k];
        add(&left1, x1, left);
        add(&right1, x1, right);
        let x2 = x[row2 + k];
        add(&left2, x2, left);
        add(&right2, x2, right);
        let x3 = x[row3 + k];
        add(&left3, x3, left);
        add(&right3, x3, right);
        let x4 = x[row4 + k];
        add(&left4, x4, left);
        add(&right4, x4, right);
    }
    let left_bias = vec4(bias_at(n), bias_at(n + 1u), bias_at(n + 2u), bias_at(n + 3u));
    let right_bias = vec4(bias_at(n + 32u), bias_at(n + 33u), bias_at(n + 34u), bias_at(n + 35u));
    finish_rows(m, n, left_bias, &left0);
    finish_rows(m, n + 32u, right_bias, &right0);
    finish_rows(m + 8u, n, left_bias, &left1);
    finish_rows(m + 8u, n + 32u, right_bias, &right1);
    finish_rows(m + 16u, n, left_bias, &left2);
    finish_rows(m + 16u, n + 32u, right_bias, &right2);
    finish_rows(m + 24u, n, left_bias, &left3);
    finish_rows(m + 24u, n + 32u, right_bias, &right3);
    finish_rows(m + 32u, n, left_bias, &left4);
    finish_rows(m + 32u, n + 32u, right_bias, &right4);
}
