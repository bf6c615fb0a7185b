//! Resampling filters of Pillow and torch, for images and position tables.

use crate::execution::image::Filter;

/// Returns the taps of entry `i` of a resampled axis: the first of the `from` entries within the filter's support, and
/// weights with sum 1 for it and the entries that follow. `scale` is the ratio of old to new length; above 1 the support
/// widens so that no entry is skipped (antialiasing).
pub fn taps(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>) {
    taps_rounded(filter, from, scale, i, |value| value)
}

/// [`taps`] as torch computes them in f32: away from the origin, positions and therefore weights lose digits.
pub fn taps_f32(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>) {
    taps_rounded(filter, from, f64::from(scale as f32), i, |value| f64::from(value as f32))
}

/// [`taps`] with each step rounded by `round`.
fn taps_rounded(filter: Filter, from: usize, scale: f64, i: usize, round: impl Fn(f64) -> f64) -> (usize, Vec<f64>) {
    let stretch = scale.max(1.0);
    let support = round(support(filter) * stretch);
    let centre = round((i as f64 + 0.5) * scale);
    let first = (round(round(centre - support) + 0.5) as isize).max(0) as usize;
    let end = (round(round(centre + support) + 0.5) as usize).min(from);
    // Multiplied by the reciprocal, as in Pillow: the last bit decides some roundings.
    let shrink = round(1.0 / stretch);
    let place = |entry: usize| round(round(round(entry as f64 - centre) + 0.5) * shrink);
    let weights: Vec<f64> = (first..end).map(|entry| round(weight(filter, place(entry)))).collect();
    let total = weights.iter().fold(0.0, |total, weight| round(total + weight));
    (first, weights.iter().map(|weight| round(weight / total)).collect())
}

/// Returns the taps of a value at `point` without antialiasing, as in torch's `interpolate`: its neighbours, clamped to
/// the `from` entries.
pub fn neighbours(interpolation: Interpolation, from: usize, point: f64) -> (usize, Vec<f64>) {
    let (first, weights) = match interpolation {
        Interpolation::Bicubic => {
            let t = point - point.floor();
            (point.floor() as isize - 1, [1.0 + t, t, 1.0 - t, 2.0 - t].map(|x| cubic(-0.75, x)).to_vec())
        }
        Interpolation::Bilinear => {
            let point = point.max(0.0);
            let t = point - point.floor();
            (point.floor() as isize, vec![1.0 - t, t])
        }
    };
    let last = from as isize - 1;
    let start = first.clamp(0, last);
    let mut kept = vec![0.0; (first + weights.len() as isize - 1).clamp(0, last) as usize - start as usize + 1];
    for (entry, weight) in (first..).zip(weights) {
        kept[(entry.clamp(0, last) - start) as usize] += weight;
    }
    (start as usize, kept)
}

/// Interpolation without antialiasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Cubic with coefficient -0.75, over four neighbours.
    Bicubic,
    /// Linear between two neighbours.
    Bilinear,
}

fn support(filter: Filter) -> f64 {
    match filter {
        Filter::Box => 0.5,
        Filter::Nearest => 0.0,
        Filter::Bilinear | Filter::Hamming => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos => 3.0,
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    use std::f64::consts::PI;
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    match filter {
        Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
        Filter::Nearest => 1.0,
        Filter::Bilinear => (1.0 - x.abs()).max(0.0),
        Filter::Hamming if x.abs() >= 1.0 => 0.0,
        Filter::Hamming => sinc(x) * (f64::from(0.54f32) + f64::from(0.46f32) * (PI * x).cos()),
        Filter::Bicubic => cubic(-0.5, x.abs()),
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Lanczos => 0.0,
    }
}

/// Keys' cubic convolution kernel with coefficient `a`.
fn cubic(a: f64, x: f64) -> f64 {
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
