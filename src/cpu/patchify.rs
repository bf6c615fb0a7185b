//! Twin of `patchify`: patches of the image times the projection's weights.

use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Cores, Matrix, Target, product};
use crate::record::{Call, params};

params! {
    /// Parameters of `patchify`.
    Params {
        /// B, images.
        batch: u32,
        /// Channels of an image.
        channels: u32,
        /// Pixels of the image along the height; what no patch covers at the lower and right edge is ignored.
        image_height: u32,
        /// Pixels of the image along the width.
        image_width: u32,
        /// Pixels of a patch along the height.
        patch_height: u32,
        /// Pixels of a patch along the width.
        patch_width: u32,
        /// C, width of a token.
        width: u32,
    }
}

/// Twin of `patchify`.
pub fn patchify(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [pixels, w, bias] = call.reads else { panic!("pixels, w and bias") };
    let [batch, channels, width] = [params.batch, params.channels, params.width].map(|size| size as usize);
    let [image_height, image_width] = [params.image_height, params.image_width].map(|size| size as usize);
    let [patch_height, patch_width] = [params.patch_height, params.patch_width].map(|size| size as usize);
    let (grid_height, grid_width) = (image_height / patch_height, image_width / patch_width);
    let (rows, values) = (batch * grid_height * grid_width, channels * patch_height * patch_width);
    with_workspace(rows * values, |patches| {
        for_each_chunk(patches, values, |row, patch| {
            let (across, down, image) = (row % grid_width, row / grid_width % grid_height, row / (grid_width * grid_height));
            for (line, run) in patch.chunks_mut(patch_width).enumerate() {
                let (u, channel) = (line % patch_height, line / patch_height);
                let y = (image * channels + channel) * image_height + down * patch_height + u;
                run.copy_from_slice(&pixels[y * image_width + across * patch_width..][..patch_width]);
            }
        });
        let patches = Matrix { data: patches, row_stride: values, column_stride: 1 };
        let w = Matrix::factor(w, [width, values], call.w_transposed);
        product([rows, width, values], 1.0, patches, w, Target { data: call.write, row_stride: width, add: false }, Cores::All);
    });
    for_each_chunk(call.write, width, |_, row| row.iter_mut().zip(*bias).for_each(|(value, bias)| *value += bias));
}
