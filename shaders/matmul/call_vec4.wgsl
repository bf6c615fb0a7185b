// What call.wgsl has, four columns at a time: N is a multiple of 4. Needs activation.wgsl and y_f32.wgsl.
const EPILOGUE: u32 = 0u; // 0 none, 1 activation, 2 residual, 3 residual with LayerScale's factor for each column
const K: u32 = 0u; // if it is known when the pipeline is made; else 0

struct Params {
    m: u32,
    n: u32,
    k: u32,
    stride: u32, // columns of y's matrix
    first: u32, // y's first column in it
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>; // [N / 4]
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>; // [N / 4]; not read but for LayerScale
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>; // [M, stride / 4]

fn depth() -> u32 {
    if K > 0u {
        return K;
    }
    return params.k;
}

// The products that are added up: k from first_k() to end_k() - 1, all of them.
fn first_k(slice: u32) -> u32 {
    return 0u;
}

fn end_k(slice: u32) -> u32 {
    return depth();
}

// Writes elements (m, n) to (m, n + 3), if there are such, from their products; n is a multiple of 4.
fn finish4(slice: u32, m: u32, n: u32, products: vec4<f32>) {
    if m >= params.m || n >= params.n {
        return;
    }
    let at = (m * params.stride + params.first + n) / 4u;
    let values = products + bias[n / 4u];
    switch EPILOGUE {
        case 1u: { y[at] = narrow4(vec4(activate(values.x), activate(values.y), activate(values.z), activate(values.w))); }
        case 2u: { y[at] = narrow4(vec4<f32>(y[at]) + values); }
        case 3u: { y[at] = narrow4(vec4<f32>(y[at]) + scale[n / 4u] * values); }
        default: { y[at] = narrow4(values); }
    }
}
