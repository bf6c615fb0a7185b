//! Twin of `image/normalise.wgsl`: maps 8-bit levels of images to pixel values.

use super::parallel::for_each_chunk;
use crate::data::levels::{LEVELS, WORD};
use crate::data::record::{Call, params};

params! {
    /// Parameters of `normalise`.
    Params {
        /// B, images.
        batch: u32,
        /// Values per image, over all channels.
        image: u32,
        /// Values per channel.
        pixels: u32,
    }
}

/// Twin of `normalise`.
pub fn normalise(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [image, pixels] = [params.image, params.pixels].map(|size| size as usize);
    let [levels, values] = call.reads else { panic!("levels and values") };
    let levels: &[u8] = bytemuck::cast_slice(levels);
    for_each_chunk(call.write, image, |number, y| {
        let levels = &levels[number * image.next_multiple_of(WORD)..][..image];
        for ((y, levels), values) in y.chunks_mut(pixels).zip(levels.chunks(pixels)).zip(values.chunks(LEVELS)) {
            y.iter_mut().zip(levels).for_each(|(y, level)| *y = values[usize::from(*level)]);
        }
    });
}
