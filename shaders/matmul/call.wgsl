// What else a product reads and writes, and its epilogue: y = x . w^T + bias, then activated, or added to what y holds. Needs activation.wgsl, y_f32.wgsl and sizes.wgsl.
const EPILOGUE: u32 = 0u; // 0 none, 1 activation, 2 residual, 3 residual with LayerScale's factor for each column

@group(0) @binding(3) var<storage, read> bias: array<f32>; // [N]
@group(0) @binding(4) var<storage, read> scale: array<f32>; // [N]; not read but for LayerScale
@group(0) @binding(5) var<storage, read_write> y: array<Y>; // [M, stride]

// The products that are added up: k from first_k() to end_k() - 1, all of them.
fn first_k(slice: u32) -> u32 {
    return 0u;
}

fn end_k(slice: u32) -> u32 {
    return depth();
}

// The bias of column n, whatever it is behind the last column.
fn bias_at(n: u32) -> f32 {
    return bias[min(n, params.n - 1u)];
}

// Writes element (m, n), if there is one, from the product with the bias added.
fn finish(slice: u32, m: u32, n: u32, value: f32) {
    if m >= params.m || n >= params.n {
        return;
    }
    let at = m * params.stride + params.first + n;
    switch EPILOGUE {
        case 1u: { y[at] = narrow(activate(value)); }
        case 2u: { y[at] = narrow(f32(y[at]) + value); }
        case 3u: { y[at] = narrow(f32(y[at]) + scale[n] * value); }
        default: { y[at] = narrow(value); }
    }
}

// Writes elements (m, n) to (m, n + 3), those of them that there are, from their products.
fn finish4(slice: u32, m: u32, n: u32, products: vec4<f32>) {
    finish(slice, m, n, products.x + bias_at(n));
    finish(slice, m, n + 1u, products.y + bias_at(n + 1u));
    finish(slice, m, n + 2u, products.z + bias_at(n + 2u));
    finish(slice, m, n + 3u, products.w + bias_at(n + 3u));
}
