// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, with x and w in 8-bit integers and a scale for each block of 32 of both.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; exact sums in i32 for each block, scaled and added in f32.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + 4 + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul_int8.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call
#import matmul/tile

@group(0) @binding(1) var<storage, read> x: array<u32>; // [M, ceil(K / 4) + ceil(K / 32)]
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>; // [ceil(N / 64), ceil(K / 4) + ceil(K / 32), 64]

alias Four = vec4<u32>;

// Four rows by four columns: the sums of the integers of this tile, which is a block deep, and of the blocks before.
struct Block {
    integers: array<vec4<i32>, 4>,
    sums: array<vec4<f32>, 4>,
}

fn words() -> u32 {
    return (params.k + 3u) / 4u;
}

fn row_words() -> u32 {
    return words() + (params.k + 31u) / 32u;
}

fn load_x(m: u32, i: u32) -> u32 {
    if i < words() {
        return x[min(m, params.m - 1u) * row_words() + i];
    }
    return 0u;
}

// Four columns of row i of a panel; the rows behind the words hold the scales. Columns behind the last repeat it.
fn panel(n: u32, i: u32) -> vec4<u32> {
    let column = min(n, (params.n - 1u) / 4u * 4u);
    return w[(column / 64u * row_words() + i) * 16u + column % 64u / 4u];
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
    let integers = block.integers;
    return Block(array(integers[0] + dots(a.x, b), integers[1] + dots(a.y, b), integers[2] + dots(a.z, b), integers[3] + dots(a.w, b)), block.sums);
}

fn scaled(m: u32, i: u32, integers: vec4<i32>, scales: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(integers) * (bitcast<f32>(x[min(m, params.m - 1u) * row_words() + i]) * scales);
}

fn settle(block: Block, at: vec2<u32>, first: u32) -> Block {
    let i = words() + first / TILE_K;
    let scales = bitcast<vec4<f32>>(panel(at.y, i));
    let sums = block.sums;
    return Block(array<vec4<i32>, 4>(), array(
        sums[0] + scaled(at.x, i, block.integers[0], scales),
        sums[1] + scaled(at.x + 1u, i, block.integers[1], scales),
        sums[2] + scaled(at.x + 2u, i, block.integers[2], scales),
        sums[3] + scaled(at.x + 3u, i, block.integers[3], scales),
    ));
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_int8(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var blocks = multiply(wid, lane, 0u, words());
    #unroll
    for (var block = 0u; block < 4u; block++) {
        let at = place(wid, lane, block);
        #unroll
        for (var i = 0u; i < 4u; i++) {
            finish4(0u, at.x + i, at.y, blocks[block].sums[i]);
        }
    }
}
