//! Twin of `layernorm`.

use super::packed_rows::for_each_row;
use super::vectors::{LANES, total, vectorised};
use crate::data::record::{Call, params};

params! {
    /// Parameters of `layernorm`.
    Params {
        /// Number of rows, each normalised on its own.
        rows: u32,
        /// C, values per row.
        width: u32,
        /// Epsilon added to the variance.
        epsilon: f32,
    }
}

/// Twin of `layernorm`.
pub fn layernorm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, weight, bias] = call.reads else { panic!("x, weight and bias") };
    let width = params.width as usize;
    for_each_row(call.write, width, call.packed, |row, y| {
        normalise(&x[row * width..][..width], weight, bias, params.epsilon, y);
    });
}

vectorised! {
    /// Normalises a row.
    fn normalise<'a>(x: &'a [f32], weight: &'a [f32], bias: &'a [f32], epsilon: f32, y: &'a mut [f32]) -> () {
        let (mean, factor) = moments_of(x, epsilon);
        for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
            *y = normal(*x, mean, factor) * weight + bias;
        }
    }
}

vectorised! {
    /// Normalises a row in place.
    pub(super) fn normalise_in_place<'a>(row: &'a mut [f32], weight: &'a [f32], bias: &'a [f32], epsilon: f32) -> () {
        let (mean, factor) = moments_of(row, epsilon);
        for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *value = normal(*value, mean, factor) * weight + bias;
        }
    }
}

vectorised! {
    /// Returns the mean of the values, and 1 / sqrt(variance + epsilon).
    pub(super) fn moments<'a>(values: &'a [f32], epsilon: f32) -> (f64, f64) {
        moments_of(values, epsilon)
    }
}

#[inline(always)]
pub(super) fn normal(value: f32, mean: f64, factor: f64) -> f32 {
    ((f64::from(value) - mean) * factor) as f32
}

/// Both are f64: the reference must be more precise than the kernels it judges, and the variance in one pass loses digits to cancellation.
#[inline(always)]
fn moments_of(values: &[f32], epsilon: f32) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
    for chunk in values.chunks(LANES) {
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(chunk) {
            let value = f64::from(*value);
            *sum += value;
            *square += value * value;
        }
    }
    let count = values.len() as f64;
    let mean = total(sums) / count;
    let variance = (total(squares) / count - mean * mean).max(0.0);
    (mean, (variance + f64::from(epsilon)).sqrt().recip())
}
