//! Twins of `unfold`, the patches of the image, and `patchify`, the patches times the projection's weights.

use super::matmul::set;
use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Target, product_in_panels};
use crate::record::{Call, params};

params! {
    /// Parameters of both; `unfold` does not read the width.
    Params {
        /// B, images.
        batch: u32,
        /// Channels of an image.
        channels: u32,
        /// Pixels of the image along the height; what the grid does not cover at the lower and right edge is ignored.
        image_height: u32,
        /// Pixels of the image along the width.
        image_width: u32,
        /// Patches along the height; they reach beyond the image where it is to be padded with zeros.
        grid_height: u32,
        /// Patches along the width.
        grid_width: u32,
        /// Pixels of a patch along the height.
        patch_height: u32,
        /// Pixels of a patch along the width.
        patch_width: u32,
        /// C, width of a token.
        width: u32,
    }
}

/// Twin of `unfold`.
pub fn unfold(call: Call<'_>) {
    flatten(bytemuck::from_bytes(call.params), call.reads[0], call.write);
}

/// Twin of `patchify`.
pub fn patchify(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor(1);
    let [pixels, _, bias] = call.reads else { panic!("pixels, w and bias") };
    let rows = (params.batch * params.grid_height * params.grid_width) as usize;
    let values = (params.channels * params.patch_height * params.patch_width) as usize;
    let width = params.width as usize;
    with_workspace(rows * values, |flat| {
        flatten(&params, pixels, flat);
        let y = Target { data: call.write, row_stride: width };
        product_in_panels([rows, width, values], flat, w, y, |_, columns, sums, y| set(y, sums, &bias[columns]));
    });
}

/// Fills the rows of `flat` with the patches of the images.
fn flatten(params: &Params, pixels: &[f32], flat: &mut [f32]) {
    let channels = params.channels as usize;
    let [image_height, image_width] = [params.image_height, params.image_width].map(|size| size as usize);
    let [patch_height, patch_width] = [params.patch_height, params.patch_width].map(|size| size as usize);
    let [grid_height, grid_width] = [params.grid_height, params.grid_width].map(|size| size as usize);
    for_each_chunk(flat, channels * patch_height * patch_width, |row, patch| {
        let (across, down, image) = (row % grid_width, row / grid_width % grid_height, row / (grid_width * grid_height));
        for (line, run) in patch.chunks_mut(patch_width).enumerate() {
            let (u, channel) = (line % patch_height, line / patch_height);
            let (row, column) = (down * patch_height + u, across * patch_width);
            let inside = if row < image_height { image_width.saturating_sub(column).min(patch_width) } else { 0 };
            let plane = image * channels + channel;
            run.fill(0.0);
            if inside > 0 {
                run[..inside].copy_from_slice(&pixels[(plane * image_height + row) * image_width + column..][..inside]);
            }
        }
    });
}
