// y[r, i] = the integers nearest to x[r, 4 i .. 4 i + 3] / scale[r, i / 8], scale[r, b] = max |x[r, 32 b .. 32 b + 31]| / 127
// A block of 32 an invocation: the maximum, then eight words; zeros behind the row's end. The scales follow the words of their row.
// Grid: ceil(M ceil(K / 32) / BLOCK), folded. Needs nothing. Twin: cpu/quantise.rs
#import common/block
#import common/grid

struct Params {
    rows: u32, // M
    width: u32, // K
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [M, K]
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // [M, ceil(K / 4) + ceil(K / 32)]

@compute @workgroup_size(INVOCATIONS)
fn quantise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let words = (params.width + 3u) / 4u;
    let blocks = (params.width + 31u) / 32u;
    let start = fold(wid, count) * BLOCK;
    for (var i = start + lane; i < min(start + BLOCK, params.rows * blocks); i += INVOCATIONS) {
        let row = i / blocks;
        let block = i % blocks;
        let from_x = row * params.width;
        let to_y = row * (words + blocks);
        var largest = 0.0;
        for (var k = block * 32u; k < min(block * 32u + 32u, params.width); k++) {
            largest = max(largest, abs(x[from_x + k]));
        }
        let scale = largest / 127.0;
        for (var word = block * 8u; word < min(block * 8u + 8u, words); word++) {
            var integers = vec4<i32>();
            for (var part = 0u; part < 4u; part++) {
                let k = word * 4u + part;
                if k < params.width && scale > 0.0 {
                    integers[part] = i32(clamp(round(x[from_x + k] / scale), -127.0, 127.0));
                }
            }
            y[to_y + word] = pack4xI8(integers);
        }
        y[to_y + words + block] = bitcast<u32>(scale);
    }
}
