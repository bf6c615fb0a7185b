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

/// Twin of `layernorm`. The statistics are f64: the reference must not lose the digits that it judges.
pub fn layernorm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, weight, bias] = call.reads else { panic!("x, weight and bias") };
    let width = params.width as usize;
    for_each_chunk(call.write, width, |row, y| {
        let x = &x[row * width..][..width];
        let mean = x.iter().map(|&value| f64::from(value)).sum::<f64>() / width as f64;
        let variance = x.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / width as f64;
        let factor = (variance + f64::from(params.epsilon)).sqrt().recip();
        for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(*weight).zip(*bias) {
            *y = ((f64::from(*x) - mean) * factor) as f32 * weight + bias;
        }
    });
}
