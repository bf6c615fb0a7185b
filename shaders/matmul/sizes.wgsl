// The sizes of a product, where the band that it computes lies in y, and where its left factor lies in x: a matrix, row by row.
const K: u32 = 0u; // if it is known when the pipeline is made; else 0
const SEGMENTS: u32 = 1u; // of a row, each in one piece
const RECTIFIED: u32 = 0u; // 1 if what is below 0 counts as 0

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

fn segment_depth() -> u32 {
    return depth();
}

// Where a segment of row m begins, and where its value k is.
fn start_of(m: u32, segment: u32) -> u32 {
    return m * depth();
}

fn place_in_x(m: u32, k: u32) -> u32 {
    return m * depth() + k;
}

// Whether that is no place in x, because zeros are there.
fn is_padding(place: u32) -> bool {
    return false;
}
