//! Twins of the `groupnorm` kernels.

use super::layernorm::{moments, normal};
use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of the `groupnorm` kernels.
    Params {
        /// Groups over all images.
        rows: u32,
        /// G, groups per image.
        groups: u32,
        /// Channels per group.
        channels: u32,
        /// P, pixels per channel.
        pixels: u32,
        /// Epsilon added to the variance.
        epsilon: f32,
    }
}

/// Replaces each value of y by `finish` applied to it and to the normalised value of x.
fn groupnorm_with(call: Call<'_>, finish: impl Fn(f32, f32) -> f32 + Sync) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, weight, bias] = call.reads else { panic!("x, weight and bias") };
    let [groups, channels, pixels] = [params.groups, params.channels, params.pixels].map(|size| size as usize);
    for_each_chunk(call.write, channels * pixels, |row, y| {
        let x = &x[row * channels * pixels..][..channels * pixels];
        let (mean, factor) = moments(x, params.epsilon);
        let first = row % groups * channels;
        for ((channel, y), x) in (first..).zip(y.chunks_mut(pixels)).zip(x.chunks(pixels)) {
            let (weight, bias) = (weight[channel], bias[channel]);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = finish(*y, normal(*x, mean, factor) * weight + bias));
        }
    });
}

/// Twin of `groupnorm`.
pub fn groupnorm(call: Call<'_>) {
    groupnorm_with(call, |_, value| value);
}

/// Twin of `groupnorm_relu`.
pub fn groupnorm_relu(call: Call<'_>) {
    groupnorm_with(call, |_, value| value.max(0.0));
}

/// Twin of `groupnorm_residual_relu`.
pub fn groupnorm_residual_relu(call: Call<'_>) {
    groupnorm_with(call, |shortcut, value| (shortcut + value).max(0.0));
}
