// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, with x and w in 8-bit integers and a scale for each row of both.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; exact sums in i32, scaled in f32.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + 4 + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul_int8.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call
#import matmul/tile

@group(0) @binding(1) var<storage, read> x: array<u32>; // [M, ceil(K / 4) + 1]
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>; // [ceil(N / 64), ceil(K / 4) + 1, 64]

alias Four = vec4<u32>;

// Sums of four rows by four columns.
struct Block {
    rows: array<vec4<i32>, 4>,
}

fn words() -> u32 {
    return (params.k + 3u) / 4u;
}

fn load_x(m: u32, i: u32) -> u32 {
    if i < words() {
        return x[min(m, params.m - 1u) * (words() + 1u) + i];
    }
    return 0u;
}

// Four columns of row i of a panel; the row behind the words holds the columns' scales. Columns behind the last repeat it.
fn panel(n: u32, i: u32) -> vec4<u32> {
    let column = min(n, (params.n - 1u) / 4u * 4u);
    return w[(column / 64u * (words() + 1u) + i) * 16u + column % 64u / 4u];
}

fn load_w4(n: u32, i: u32) -> vec4<u32> {
    if i < words() {
        return panel(n, i);
    }
    return vec4<u32>();
}

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

fn add(block: Block, a: vec4<u32>, b: vec4<u32>) -> Block {
    let rows = block.rows;
    return Block(array(rows[0] + dots(a.x, b), rows[1] + dots(a.y, b), rows[2] + dots(a.z, b), rows[3] + dots(a.w, b)));
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_int8(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var blocks = multiply(wid, lane, 0u, words());
    #unroll
    for (var block = 0u; block < 4u; block++) {
        let at = place(wid, lane, block);
        let scales = bitcast<vec4<f32>>(panel(at.y, words()));
        #unroll
        for (var i = 0u; i < 4u; i++) {
            let scale = bitcast<f32>(x[min(at.x + i, params.m - 1u) * (words() + 1u) + words()]);
            finish4(0u, at.x + i, at.y, vec4<f32>(blocks[block].rows[i]) * scales * scale);
        }
    }
}
