//! Twin of `layernorm`.

use super::parallel::for_each_chunk;
use crate::record::{Call, params};

params! {
    /// Parameters of `layernorm`.
    Params {
        /// Rows that are normalised, each by itself.
        rows: u32,
        /// C, values in a row.
        width: u32,
        /// What is added to the variance.
        epsilon: f32,
    }
}

/// Twin of `layernorm`.
pub fn layernorm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, weight, bias] = call.reads else { panic!("x, weight and bias") };
    let width = params.width as usize;
    for_each_chunk(call.write, width, |row, y| {
        y.copy_from_slice(&x[row * width..][..width]);
        normalise(y, weight, bias, params.epsilon);
    });
}

/// Normalises a row in place.
pub(super) fn normalise(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let (mean, factor) = moments(row, epsilon);
    for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = ((f64::from(*value) - mean) * factor) as f32 * weight + bias;
    }
}

/// The mean of some values, and 1 / sqrt(variance + epsilon). They are f64: the reference must not lose the
/// digits that it judges.
pub(super) fn moments(values: &[f32], epsilon: f32) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance + f64::from(epsilon)).sqrt().recip())
}
