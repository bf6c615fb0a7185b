// The right factor w[N, K] of a product in panels of 64 columns of w^T in f16, zeros behind the last column.
@group(0) @binding(2) var<storage, read> w: array<vec4<f16>>; // [ceil(N / 64), K, 64]
