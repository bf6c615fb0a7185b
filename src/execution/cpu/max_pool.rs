//! Twin of `max_pool`: the maximum of each window.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `max_pool`.
    Params {
        /// Channels over all images.
        planes: u32,
        /// Input height in pixels.
        height: u32,
        /// Input width in pixels.
        width: u32,
        /// Output height in pixels.
        output_height: u32,
        /// Output width in pixels.
        output_width: u32,
        /// Height and width of a window in pixels.
        size: u32,
        /// Stride between windows in pixels.
        stride: u32,
        /// Rows of the first window that lie above the image.
        top: u32,
        /// Columns of the first window that lie left of the image.
        left: u32,
    }
}

/// Twin of `max_pool`.
pub fn max_pool(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [height, width, output_height, output_width] =
        [params.height, params.width, params.output_height, params.output_width].map(|size| size as usize);
    let [size, stride, top, left] = [params.size, params.stride, params.top, params.left].map(|size| size as usize);
    let window = |place: usize, before: usize, length: usize| (place * stride).saturating_sub(before)..(place * stride + size - before).min(length);
    for_each_chunk(call.write, output_width, |row, y| {
        let (down, plane) = (row % output_height, row / output_height);
        let x = &x[plane * height * width..][..height * width];
        for (across, largest) in y.iter_mut().enumerate() {
            let columns = window(across, left, width);
            let rows = window(down, top, height).map(|row| &x[row * width..][columns.clone()]);
            *largest = rows.flatten().copied().fold(f32::NEG_INFINITY, f32::max);
        }
    });
}
