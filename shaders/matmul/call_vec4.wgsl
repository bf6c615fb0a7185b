// What call.wgsl has, four columns at a time: N is a multiple of 4. Needs activation.wgsl, y_f32.wgsl and sizes.wgsl.
const EPILOGUE: u32 = 0u; // 0 none, 1 activation, 2 residual, 3 residual with LayerScale's factor for each column
const INSIDE: u32 = 0u; // 1 if all elements lie in y, so that none is tested for it

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

// Whether results replace what y held.
fn replaces() -> bool {
    return EPILOGUE < 2u;
}

// What the epilogue of four columns reads, the same for all rows.
struct Columns {
    bias: vec4<f32>,
    scale: vec4<f32>,
}

// That of columns n to n + 3, or of the last four; n is a multiple of 4.
fn columns_at(n: u32) -> Columns {
    let at = min(n, params.n - 4u) / 4u;
    if EPILOGUE == 3u {
        return Columns(bias[at], scale[at]);
    }
    return Columns(bias[at], vec4<f32>());
}

// Elements (m, n) to (m, n + 3) of y, or some others behind its end, if products are added to them.
fn held_at(m: u32, n: u32) -> vec4<f32> {
    if EPILOGUE >= 2u {
        return vec4<f32>(y[(min(m, params.m - 1u) * params.stride + params.first + min(n, params.n - 4u)) / 4u]);
    }
    return vec4<f32>();
}

// Writes elements (m, n) to (m, n + 3), if there are such, from their products and from what was read for them.
fn finish4_with(slice: u32, m: u32, n: u32, products: vec4<f32>, columns: Columns, held: vec4<f32>) {
    if INSIDE == 0u && (m >= params.m || n >= params.n) {
        return;
    }
    let at = (m * params.stride + params.first + n) / 4u;
    let values = products + columns.bias;
    switch EPILOGUE {
        case 1u: { y[at] = narrow4(vec4(activate(values.x), activate(values.y), activate(values.z), activate(values.w))); }
        case 2u: { y[at] = narrow4(held + values); }
        case 3u: { y[at] = narrow4(held + columns.scale * values); }
        default: { y[at] = narrow4(values); }
    }
}

fn finish4(slice: u32, m: u32, n: u32, products: vec4<f32>) {
    finish4_with(slice, m, n, products, columns_at(n), held_at(m, n));
}
