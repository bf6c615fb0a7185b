// The left factor x[M, K] of a product, K a multiple of 4.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [M, K / 4]
