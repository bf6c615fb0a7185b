// y[b, p, c] = sum over channel i and pixel (u, v) of patch p: pixels[b, i, u, v] * w[c, i, u, v] + bias[c], 0 for pixels outside of the image
// The tiles of matmul/tile.wgsl; x's rows are patches, gathered from the image as they are loaded. f32.
// Grid: (ceil(C / 64), ceil(B P / 64), 1). Needs 8 KiB of workgroup memory. Twin: cpu/patchify.rs
#import matmul/w_f32
#import image/patches
#import image/patchify_call
#import matmul/tile

fn load_x(m: u32, k: u32) -> f32 {
    if m >= rows() || k >= patch_values() {
        return 0.0;
    }
    let across = m % params.grid_width;
    let down = m / params.grid_width % params.grid_height;
    let image = m / (params.grid_width * params.grid_height);
    let channel = k / (params.patch_width * params.patch_height);
    let row = down * params.patch_height + k / params.patch_width % params.patch_height;
    let column = across * params.patch_width + k % params.patch_width;
    if row >= params.image_height || column >= params.image_width {
        return 0.0;
    }
    let plane = image * params.channels + channel;
    return pixels[(plane * params.image_height + row) * params.image_width + column];
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    if k < patch_values() {
        return panel(n, k, patch_values());
    }
    return vec4<f32>();
}

@compute @workgroup_size(64)
fn patchify(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums = multiply(wid, lane, 0u, patch_values());
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        if at.x < rows() && at.y < params.width {
            y[at.x * params.width + at.y] = element(&sums, i) + bias[at.y];
        }
    }
}
