//! Twin of `depth`: the last layer of a depth head.

use super::activation::{activate, numbered};
use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `depth`.
    Params {
        /// Pixels of all images.
        pixels: u32,
        /// Channels of x.
        channels: u32,
        /// Factor on the activation.
        scale: f32,
    }
}

/// Pixels per task.
const CHUNK: usize = 1024;

/// Twin of `depth`.
pub fn depth(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, w, bias] = call.reads else { panic!("x, w and bias") };
    let channels = params.channels as usize;
    let activation = numbered(call.spec.get("ACTIVATION"));
    for_each_chunk(call.write, CHUNK, |chunk, y| {
        for (y, pixel) in y.iter_mut().zip(x[chunk * CHUNK * channels..].chunks(channels)) {
            *y = bias[0] + pixel.iter().zip(*w).map(|(x, w)| x * w).sum::<f32>();
        }
        activate(activation, y);
        y.iter_mut().for_each(|y| *y *= params.scale);
    });
}
