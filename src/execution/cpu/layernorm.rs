//! Twins of `layernorm` and `rmsnorm`.

use super::packed_rows::for_each_row;
use super::vectors::{LANES, total, vectorised};
use crate::data::record::{Call, params};

params! {
    /// Parameters of `layernorm` and `rmsnorm`.
    Params {
        /// Number of rows, each normalised on its own.
        rows: u32,
        /// C, values per row.
        width: u32,
        /// Epsilon added to the variance, or to the mean of the squares.
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

/// Twin of `rmsnorm`.
pub fn rmsnorm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, weight] = call.reads else { panic!("x and weight") };
    let width = params.width as usize;
    for_each_row(call.write, width, call.packed, |row, y| {
        y.copy_from_slice(&x[row * width..][..width]);
        scale_in_place(y, weight, params.epsilon);
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
    /// Divides a row by its root mean square and multiplies it by `weight`, in place.
    pub(super) fn scale_in_place<'a>(row: &'a mut [f32], weight: &'a [f32], epsilon: f32) -> () {
        let (_, squares) = sums_of(row);
        let factor = (squares / row.len() as f64 + f64::from(epsilon)).sqrt().recip();
        for (value, weight) in row.iter_mut().zip(weight) {
            *value = normal(*value, 0.0, factor) * weight;
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
    let (sum, squares) = sums_of(values);
    let count = values.len() as f64;
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    (mean, (variance + f64::from(epsilon)).sqrt().recip())
}

/// Returns the sum of the values and that of their squares.
#[inline(always)]
fn sums_of(values: &[f32]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let value = f64::from(chunk[i]);
            sums[i] += value;
            squares[i] += value * value;
        }
    }
    let rest = rest.iter().map(|value| f64::from(*value));
    (rest.clone().sum::<f64>() + total(sums), rest.map(|value| value * value).sum::<f64>() + total(squares))
}
