//! Twin of `layernorm`.

use super::parallel::for_each_chunk;
use super::vectors::{sum, vectorised};
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
    let packed = call.packed.filter(|packed| packed.promise(width));
    for_each_chunk(call.write, width, |row, y| {
        y.copy_from_slice(&x[row * width..][..width]);
        normalise(y, weight, bias, params.epsilon);
        // SAFETY: a task is a row.
        packed.inspect(|packed| unsafe { packed.pack(row, 0, y) });
    });
}

vectorised! {
    /// Normalises a row in place.
    pub(super) fn normalise<'a>(row: &'a mut [f32], weight: &'a [f32], bias: &'a [f32], epsilon: f32) -> () {
        let (mean, factor) = moments_of(row, epsilon);
        for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *value = ((f64::from(*value) - mean) * factor) as f32 * weight + bias;
        }
    }
}

vectorised! {
    /// Returns the mean of the values, and 1 / sqrt(variance + epsilon).
    pub(super) fn moments<'a>(values: &'a [f32], epsilon: f32) -> (f64, f64) {
        moments_of(values, epsilon)
    }
}

/// Both are f64: the reference must be more precise than the kernels it judges.
#[inline(always)]
fn moments_of(values: &[f32], epsilon: f32) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = sum(values, f64::from) / count;
    let variance = sum(values, |value| (f64::from(value) - mean) * (f64::from(value) - mean)) / count;
    (mean, (variance + f64::from(epsilon)).sqrt().recip())
}
