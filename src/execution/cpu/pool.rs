//! Twin of `pool`: the mean over a range of tokens.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `pool`.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// C, width of a token.
        width: u32,
        /// First token of the mean.
        first: u32,
        /// Number of tokens in the mean.
        count: u32,
        /// Row stride: columns of the matrix that the mean is written to.
        stride: u32,
        /// First column written.
        column: u32,
    }
}

/// Twin of `pool`.
pub fn pool(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [tokens, width, first, count] = [params.tokens, params.width, params.first, params.count].map(|size| size as usize);
    let [stride, column] = [params.stride, params.column].map(|size| size as usize);
    for_each_chunk(call.write, stride, |b, row| {
        let mean = &mut row[column..column + width];
        mean.fill(0.0);
        for token in x[(b * tokens + first) * width..].chunks(width).take(count) {
            mean.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f32);
    });
}
