// The right factor w[N, K] of a product in panels of 64 columns of w^T in f16, zeros behind the last column. Widened by
// unpack2x16float, which needs no extension.
@group(0) @binding(2) var<storage, read> w: array<vec2<u32>>; // [ceil(N / 64), K, 64] of f16

// Columns n to n + 3 of w^T in row k of `depth`; n is a multiple of 4.
fn panel(n: u32, k: u32, depth: u32) -> vec4<f32> {
    let columns = w[(n / 64u * depth + k) * 16u + n % 64u / 4u];
    return vec4(unpack2x16float(columns.x), unpack2x16float(columns.y));
}
