// y[m, n] = epilogue(sum_k x[m, k] * w[n, k] + bias[n]): what tiled.wgsl computes, with x and w in bf16, two to a word.
// A tile of ROWS x COLUMNS of y a workgroup, 8 x 8 an invocation, through workgroup memory; f32 sums in order of k.
// Grid: (ceil(N / COLUMNS), ceil(M / ROWS), 1). Needs 4 TILE_K (ROWS + 4 + COLUMNS) bytes of workgroup memory. Twin: cpu/matmul_bf16.rs
#import common/activation
#import common/y_f32
#import matmul/sizes
#import matmul/call
#import matmul/tile

@group(0) @binding(1) var<storage, read> x: array<u32>; // [M, ceil(K / 2)]
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>; // [ceil(N / 64), ceil(K / 2), 64]

alias Four = vec4<u32>;
alias Block = mat4x4<f32>; // column i has row i of the block

fn words() -> u32 {
    return (params.k + 1u) / 2u;
}

// Rows and columns behind the last repeat it; what becomes of them is not written.
fn load_x(m: u32, i: u32) -> u32 {
    if i < words() {
        return x[min(m, params.m - 1u) * words() + i];
    }
    return 0u;
}

fn load_w4(n: u32, i: u32) -> vec4<u32> {
    if i < words() {
        let column = min(n, (params.n - 1u) / 4u * 4u);
        return w[(column / 64u * words() + i) * 16u + column % 64u / 4u];
    }
    return vec4<u32>();
}

fn lower(words: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(words << vec4(16u));
}

fn upper(words: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(words & vec4(0xffff0000u));
}

fn products(a: vec4<f32>, b: vec4<f32>) -> Block {
    return Block(a.x * b, a.y * b, a.z * b, a.w * b);
}

fn add(block: Block, a: Four, b: Four) -> Block {
    return block + products(lower(a), lower(b)) + products(upper(a), upper(b));
}

fn settle(block: Block, at: vec2<u32>, first: u32) -> Block {
    return block;
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_bf16(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var blocks = multiply(wid, lane, 0u, words());
    #unroll
    for (var block = 0u; block < 4u; block++) {
        let at = place(wid, lane, block);
        #unroll
        for (var i = 0u; i < 4u; i++) {
            finish4(0u, at.x + i, at.y, blocks[block][i]);
        }
    }
}
