//! Twin of `softmax`.

use super::exponential::exp;
use super::parallel::for_each_chunk;
use super::vectors::{largest, sum, vectorised};
use crate::data::record::{Call, params};

params! {
    /// Parameters of `softmax`.
    Params {
        /// Number of rows, each a distribution of its own.
        rows: u32,
        /// Values per row.
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
        normalise(y, width, width);
    });
}

vectorised! {
    /// Replaces the first `width` scores of each row by their softmax; rows are `stride` apart.
    pub(super) fn normalise<'a>(rows: &'a mut [f32], stride: usize, width: usize) -> () {
        for row in rows.chunks_mut(stride) {
            let row = &mut row[..width];
            let largest = largest(row);
            for value in row.iter_mut() {
                *value = exp::<S>(*value - largest);
            }
            let factor = sum(row, |value| value).recip();
            for value in row {
                *value *= factor;
            }
        }
    }
}
