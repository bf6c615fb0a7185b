// The sizes of a product, and where the band that it computes lies in y.
const K: u32 = 0u; // if it is known when the pipeline is made; else 0

struct Params {
    m: u32,
    n: u32,
    k: u32,
    stride: u32, // columns of y's matrix
    first: u32, // y's first column in it
    slice_depth: u32, // of K, if it is split over workgroups
}

@group(0) @binding(0) var<uniform> params: Params;

fn depth() -> u32 {
    if K > 0u {
        return K;
    }
    return params.k;
}
