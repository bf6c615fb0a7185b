// y[b, p, c] = sum over channel i and pixel (u, v) of patch p: pixels[b, i, u, v] * w[c, i, u, v] + bias[c]: what image/patchify.wgsl computes, without workgroup memory
// The tiles of tile.wgsl, 40 x 64 a subgroup; x's rows are patches, gathered from the image as they are loaded; no patch reaches beyond the image. f32.
// Grid: (ceil(C / 64), ceil(B P / 40), 1). Needs subgroups of 8. Twin: cpu/patchify.rs
#import matmul/w_f32
#import image/patches
#import image/patchify_call
#import software/tile

fn depth() -> u32 {
    return patch_values();
}

// The first pixel of patch m.
fn start(m: u32) -> u32 {
    let across = m % params.grid_width;
    let down = m / params.grid_width % params.grid_height;
    let image = m / (params.grid_width * params.grid_height);
    return (image * params.channels * params.image_height + down * params.patch_height) * params.image_width + across * params.patch_width;
}

fn load_x(start: u32, k: u32) -> f32 {
    let channel = k / (params.patch_width * params.patch_height);
    let row = k / params.patch_width % params.patch_height;
    return pixels[start + (channel * params.image_height + row) * params.image_width + k % params.patch_width];
}

fn bias_at(n: u32) -> f32 {
    return bias[min(n, params.width - 1u)];
}

fn write(m: u32, n: u32, value: f32) {
    if m < rows() && n < params.width {
        y[m * params.width + n] = value;
    }
}

@compute @workgroup_size(8)
fn patchify_software(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    multiply(wid, lane);
}
