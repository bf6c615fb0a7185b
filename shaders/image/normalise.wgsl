// y[b, c, i] = values[c, l], l the 8-bit level of pixel i in channel c of image b: images as a model reads them, by the preprocessor's own values.
// A workgroup BLOCK elements of y. A word is four levels, the first in the lowest byte; an image begins with a word of its own.
// Grid: ceil(B channels pixels / BLOCK), folded. Needs nothing. Twin: cpu/normalise.rs
#import common/block
#import common/grid

struct Params {
    batch: u32, // B
    image: u32, // channels * pixels
    pixels: u32, // height * width
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> levels: array<u32>; // [B, words]
@group(0) @binding(2) var<storage, read> values: array<f32>; // [channels, 256]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, channels, pixels]

@compute @workgroup_size(INVOCATIONS)
fn normalise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let words = (params.image + 3u) / 4u;
    let start = fold(wid, count) * BLOCK;
    for (var element = start + lane; element < min(start + BLOCK, params.batch * params.image); element += INVOCATIONS) {
        let i = element % params.image;
        let level = extractBits(levels[element / params.image * words + i / 4u], i % 4u * 8u, 8u);
        y[element] = values[i / params.pixels * 256u + level];
    }
}
