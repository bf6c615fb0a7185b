//! Twin of `unfold`: cuts images into patches.

use super::packed_rows::for_each_row;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `unfold`.
    Params {
        /// B, images.
        batch: u32,
        /// Image height in pixels. Pixels beyond the grid at the bottom and right edges are ignored.
        image_height: u32,
        /// Image width in pixels.
        image_width: u32,
        /// Patches along the height. They extend beyond an image that is to be padded with zeros.
        grid_height: u32,
        /// Patches along the width.
        grid_width: u32,
    }
}

/// Twin of `unfold`.
pub fn unfold(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let pixels = call.reads[0];
    let [image_height, image_width] = [params.image_height, params.image_width].map(|size| size as usize);
    let [channels, patch_height, patch_width] = ["CHANNELS", "PATCH_HEIGHT", "PATCH_WIDTH"].map(|name| call.spec.get(name) as usize);
    let [grid_height, grid_width] = [params.grid_height, params.grid_width].map(|size| size as usize);
    for_each_row(call.write, channels * patch_height * patch_width, call.packed, |row, patch| {
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
