//! Twins of `pool` and `pool_max`: the mean and the maximum over a range of tokens.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `pool` and `pool_max`.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// C, width of a token.
        width: u32,
        /// First token of the range.
        first: u32,
        /// Number of tokens in the range.
        count: u32,
        /// Row stride: columns of the matrix that is written.
        stride: u32,
        /// First column written.
        column: u32,
    }
}

/// Twin of `pool`.
pub fn pool(call: Call<'_>) {
    let count = bytemuck::from_bytes::<Params>(call.params).count as f32;
    reduce(call, 0.0, |sum, value| sum + value, |sum| sum / count);
}

/// Twin of `pool_max`.
pub fn pool_max(call: Call<'_>) {
    reduce(call, f32::MIN, f32::max, |largest| largest);
}

/// Reduces each column of the range, starting at `start`.
fn reduce(call: Call<'_>, start: f32, step: impl Fn(f32, f32) -> f32 + Sync, end: impl Fn(f32) -> f32 + Sync) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [tokens, width, first, count] = [params.tokens, params.width, params.first, params.count].map(|size| size as usize);
    let [stride, column] = [params.stride, params.column].map(|size| size as usize);
    for_each_chunk(call.write, stride, |b, row| {
        let reduced = &mut row[column..column + width];
        reduced.fill(start);
        for token in x[(b * tokens + first) * width..].chunks(width).take(count) {
            reduced.iter_mut().zip(token).for_each(|(reduced, value)| *reduced = step(*reduced, *value));
        }
        reduced.iter_mut().for_each(|reduced| *reduced = end(*reduced));
    });
}
