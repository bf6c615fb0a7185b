// What split.wgsl has, four columns at a time: N is a multiple of 4. Needs sizes.wgsl.
const INSIDE: u32 = 0u; // 1 if all elements lie in y, so that none is tested for it

@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [slices, M, N / 4]

// The products that are added up: k from first_k() to end_k() - 1, none where K is short.
fn first_k(slice: u32) -> u32 {
    return slice * params.slice_depth;
}

fn end_k(slice: u32) -> u32 {
    return min(first_k(slice) + params.slice_depth, depth());
}

fn replaces() -> bool {
    return true;
}

// Nothing is added to partial sums but by combine.wgsl.
struct Columns {
    nothing: u32,
}

fn columns_at(n: u32) -> Columns {
    return Columns();
}

fn held_at(m: u32, n: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn finish4_with(slice: u32, m: u32, n: u32, sums: vec4<f32>, columns: Columns, held: vec4<f32>) {
    if INSIDE == 1u || (m < params.m && n < params.n) {
        y[((slice * params.m + m) * params.n + n) / 4u] = sums;
    }
}
