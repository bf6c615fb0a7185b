// What call.wgsl has, four columns at a time: N is a multiple of 4. Needs activation.wgsl, y_f32.wgsl and sizes.wgsl.
const EPILOGUE: u32 = 0u; // 0 none, 1 activation, 2 residual, 3 residual with LayerScale's factor for each column

@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>; // [N / 4]
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>; // [N / 4]; not read but for LayerScale
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>; // [M, stride / 4]

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
