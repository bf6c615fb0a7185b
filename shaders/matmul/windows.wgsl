// What sizes.wgsl has, for a left factor of the 3 x 3 windows of maps x[B, height, width, channels], with zeros around each map: row m is the window of
// pixel m of y, row by row, and K its pixels' channels.
const K: u32 = 0u; // if it is known when the pipeline is made; else 0
const SEGMENTS: u32 = 9u; // the pixels of a window
const RECTIFIED: u32 = 0u; // 1 if what is below 0 counts as 0
const NOWHERE: u32 = 0xffffffffu;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    stride: u32, // columns of y's matrix: all of them
    first: u32, // y's first column in it: 0
    height: u32, // of x
    width: u32,
    rows: u32, // pixels of y from top to bottom
    columns: u32, // and from left to right
    step: u32, // from window to window, in pixels of x
}

@group(0) @binding(0) var<uniform> params: Params;

fn depth() -> u32 {
    if K > 0u {
        return K;
    }
    return params.k;
}

fn segment_depth() -> u32 {
    return depth() / SEGMENTS;
}

fn start_of(m: u32, segment: u32) -> u32 {
    // Above and left of the map they wrap around, and so are outside.
    let row = m / params.columns % params.rows * params.step + segment / 3u - 1u;
    let column = m % params.columns * params.step + segment % 3u - 1u;
    let image = m / (params.columns * params.rows);
    let start = ((image * params.height + row) * params.width + column) * segment_depth();
    return select(NOWHERE, start, row < params.height && column < params.width);
}

fn place_in_x(m: u32, k: u32) -> u32 {
    let start = start_of(m, k / segment_depth());
    return select(start + k % segment_depth(), NOWHERE, start == NOWHERE);
}

fn is_padding(place: u32) -> bool {
    return place == NOWHERE;
}
