// How an image in a texture becomes pixel values: what both passes are told.
struct Params {
    left: u32, // of the rectangle in the texture
    top: u32,
    first_row: u32, // of the rectangle, that the second pass reads
    rows: u32, // that it reads
    window_width: u32, // of the resized image that is seen
    window_height: u32,
    height: u32, // of the result
    width: u32,
    down: u32, // where the window lies in the result
    across: u32,
    image: u32, // of the batch
    channels: u32, // 1 or 3
    is_rounded: u32, // to 8 bits after each pass, as Pillow does it
    is_linear: u32, // the texture holds light, not its sRGB encoding
    on_white: u32, // what is transparent is laid on white
    scale: f32, // of levels
    mean: vec4<f32>,
    deviation: vec4<f32>,
    fill: vec3<f32>, // levels outside the window
    is_grey: u32, // the texture has one channel
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> taps: array<u32>; // for each pixel its first neighbour and where its weights begin, one more; then weights

// A sum of levels times weights of 22 bits as an 8-bit level.
fn rounded(sum: i32) -> u32 {
    return bitcast<u32>(clamp((sum + (1 << 21u)) >> 22u, 0, 255));
}
