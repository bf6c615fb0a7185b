// y[b, r, s, c] = interpolated x[b, :, :, c] at row r and column s, bilinear; or that added to y. Centres of the corner pixels coincide with CORNERS, else their edges (torch's align_corners).
// A workgroup BLOCK elements of y. Places are exact fractions of whole numbers; f32 inside.
// Grid: ceil(B rows columns channels / BLOCK), folded. Needs nothing. Twin: cpu/resize.rs
#import common/block
#import common/grid
#import common/x_f32
#import common/y_f32

const CORNERS: u32 = 0u;
const ADDED: u32 = 0u; // 1 to add to what y holds

struct Params {
    batch: u32,
    height: u32, // of x
    width: u32,
    rows: u32, // of y
    columns: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // [B, height, width, channels]
@group(0) @binding(2) var<storage, read_write> y: array<Y>; // [B, rows, columns, channels]

// Two neighbours along an axis, and the second one's weight.
struct Place {
    first: u32,
    second: u32,
    weight: f32,
}

fn place_of(i: u32, from_length: u32, to_length: u32) -> Place {
    // (i + 0.5) * from / to - 0.5, but not below 0.
    var over = 2u * to_length;
    var at = max((2u * i + 1u) * from_length, to_length) - to_length;
    if CORNERS == 1u {
        over = max(to_length - 1u, 1u);
        at = i * (from_length - 1u);
    }
    let first = at / over;
    return Place(first, min(first + 1u, from_length - 1u), f32(at % over) / f32(over));
}

@compute @workgroup_size(INVOCATIONS)
fn resize(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = fold(wid, count) * BLOCK;
    let len = params.batch * params.rows * params.columns * params.channels;
    for (var element = start + lane; element < min(start + BLOCK, len); element += INVOCATIONS) {
        let c = element % params.channels;
        let pixel = element / params.channels;
        let across = place_of(pixel % params.columns, params.width, params.columns);
        let down = place_of(pixel / params.columns % params.rows, params.height, params.rows);
        let image = pixel / (params.columns * params.rows) * params.height;
        let upper = (image + down.first) * params.width;
        let lower = (image + down.second) * params.width;
        let left = mix(f32(x[(upper + across.first) * params.channels + c]), f32(x[(lower + across.first) * params.channels + c]), down.weight);
        let right = mix(f32(x[(upper + across.second) * params.channels + c]), f32(x[(lower + across.second) * params.channels + c]), down.weight);
        var value = mix(left, right, across.weight);
        if ADDED == 1u {
            value += f32(y[element]);
        }
        y[element] = narrow(value);
    }
}
