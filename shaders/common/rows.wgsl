// The left factor x[M, K] of a product.
@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K]
