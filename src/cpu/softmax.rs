//! Twin of `softmax`.

use super::exponential::exp;
use super::parallel::for_each_chunk;
use crate::record::{Call, params};

params! {
    /// Parameters of `softmax`.
    Params {
        /// Rows, each a distribution of its own.
        rows: u32,
        /// Values in a row.
        width: u32,
    }
}

/// Twin of `softmax`.
pub fn softmax(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let width = params.width as usize;
    for_each_chunk(call.write, width, |row, y| {
        y.copy_from_slice(&x[row * width..][..width]);
        normalise(y);
    });
}

/// Replaces a row of scores by its softmax.
pub(super) fn normalise(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|value| *value = exp(*value - largest));
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= total);
}
