// What a product reads and writes, and its epilogue: y = x . w^T + bias, then activated, or added to what y holds. Needs activation.wgsl, rows.wgsl and panel.wgsl, or their variants.
const EPILOGUE: u32 = 0u; // 0 none, 1 activation, 2 residual, 3 residual with LayerScale's factor for each column

struct Params {
    m: u32,
    n: u32,
    k: u32,
    stride: u32, // columns of y's matrix
    first: u32, // y's first column in it
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [N]
@group(0) @binding(4) var<storage, read> scale: array<f32>; // [N]; not read but for LayerScale
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [M, stride]

// The products that are added up: k from first_k() to end_k() - 1.
fn first_k() -> u32 {
    return 0u;
}

fn end_k() -> u32 {
    return params.k;
}

// The bias of column n, whatever it is behind the last column.
fn bias_at(n: u32) -> f32 {
    return bias[min(n, params.n - 1u)];
}

// Writes element (m, n), if there is one, from the product with the bias added.
fn finish(m: u32, n: u32, value: f32) {
    if m >= params.m || n >= params.n {
        return;
    }
    let at = m * params.stride + params.first + n;
    switch EPILOGUE {
        case 1u: { y[at] = activate(value); }
        case 2u: { y[at] += value; }
        case 3u: { y[at] += scale[n] * value; }
        default: { y[at] = value; }
    }
}
