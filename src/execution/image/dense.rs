//! Results of dense heads at the size of the image (transformers' `post_process_depth_estimation` and `post_process_semantic_segmentation`).

use super::filter::{Interpolation, neighbours};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use rayon::prelude::*;

/// Returns a depth map `[height, width]` at another size, one row after the other: bicubic with coefficient -0.75, not antialiased.
///
/// # Errors
/// [`Error::Argument`] if it is not a map, or if a size is 0.
pub fn depth_at(depth: &Tensor, size: [usize; 2]) -> Result<Vec<f32>> {
    let ([_, height, width], values) = (planes(depth, "depth")?, depth.values());
    let [rows, columns] = taps(Interpolation::Bicubic, [height, width], size)?;
    let row = |tap: &Tap| {
        let down = row_of(&values, width, tap);
        columns.iter().map(|tap| tap.sum(|column| down[column]) as f32).collect::<Vec<f32>>()
    };
    Ok(rows.par_iter().flat_map_iter(row).collect())
}

/// Returns the class with the largest score for each pixel of an image of another size, one row after the other, from the scores `[classes, height, width]`:
/// bilinear, not antialiased. Of equal scores the first counts.
///
/// # Errors
/// [`Error::Argument`] if these are not such scores, if there are more than 65536 classes, or if a size is 0.
pub fn classes_at(logits: &Tensor, size: [usize; 2]) -> Result<Vec<u16>> {
    let ([classes, height, width], values) = (planes(logits, "logits")?, logits.values());
    if classes > 1 << 16 {
        return Err(Error::argument("logits", format!("expected at most 65536 classes, found {classes}")));
    }
    let [rows, columns] = taps(Interpolation::Bilinear, [height, width], size)?;
    let row = |tap: &Tap| {
        let mut best = vec![(f64::NEG_INFINITY, 0); size[1]];
        for (class, plane) in values.chunks(height * width).enumerate() {
            let scores = row_of(plane, width, tap);
            for (best, tap) in best.iter_mut().zip(&columns) {
                let score = tap.sum(|column| scores[column]);
                if score > best.0 {
                    *best = (score, class as u16);
                }
            }
        }
        best.into_iter().map(|(_, class)| class)
    };
    Ok(rows.par_iter().flat_map_iter(row).collect())
}

/// Neighbours of a pixel, from the first on, and their weights. An image has a million columns at most, so a tap must be small.
struct Tap {
    first: usize,
    count: usize,
    weights: [f64; 4],
}

impl Tap {
    fn of((first, weights): (usize, Vec<f64>)) -> Tap {
        let count = weights.len();
        Tap { first, count, weights: std::array::from_fn(|i| weights.get(i).copied().unwrap_or(0.0)) }
    }

    fn sum(&self, value: impl Fn(usize) -> f64) -> f64 {
        (self.first..).zip(&self.weights[..self.count]).map(|(place, weight)| weight * value(place)).sum()
    }
}

/// Returns a row of the result, at the columns of a map that are not yet resized.
fn row_of(map: &[f32], width: usize, tap: &Tap) -> Vec<f64> {
    (0..width).map(|column| tap.sum(|row| f64::from(map[row * width + column]))).collect()
}

/// Returns the taps of rows and columns.
fn taps(interpolation: Interpolation, from: [usize; 2], to: [usize; 2]) -> Result<[Vec<Tap>; 2]> {
    if to.contains(&0) {
        return Err(Error::argument("size", format!("expected a height and a width above 0, found {to:?}")));
    }
    let scale = [0, 1].map(|axis| from[axis] as f64 / to[axis] as f64);
    let tap = |axis: usize, i| Tap::of(neighbours(interpolation, from[axis], (i as f64 + 0.5) * scale[axis] - 0.5));
    Ok([0, 1].map(|axis| (0..to[axis]).map(|i| tap(axis, i)).collect()))
}

/// Returns the axes of a map, or of planes of it, none of which is empty.
fn planes(tensor: &Tensor, name: &'static str) -> Result<[usize; 3]> {
    match *tensor.shape() {
        [height, width] if height * width > 0 => Ok([1, height, width]),
        [planes, height, width] if planes * height * width > 0 && (planes == 1 || name == "logits") => Ok([planes, height, width]),
        ref found => Err(Error::argument(name, format!("expected the map of one image, found {found:?}"))),
    }
}
