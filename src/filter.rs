//! Resampling filters as Pillow and torch define them: for pictures and for position tables.

use crate::config::Filter;

/// What entry `i` of a resampled axis is made of: the first of the `from` entries within the filter's
/// support, and weights, whose sum is 1, for it and those that follow. `scale` is the ratio of the old to
/// the new length; above 1 the support widens, so that nothing is skipped (antialiasing).
pub fn taps(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>) {
    let stretch = scale.max(1.0);
    let support = support(filter) * stretch;
    let centre = (i as f64 + 0.5) * scale;
    let first = ((centre - support + 0.5) as isize).max(0) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    // Multiplied by the reciprocal, as Pillow does it: the last bit decides some roundings.
    let shrink = 1.0 / stretch;
    let weights: Vec<f64> = (first..end).map(|entry| weight(filter, (entry as f64 - centre + 0.5) * shrink)).collect();
    let total: f64 = weights.iter().sum();
    (first, weights.iter().map(|weight| weight / total).collect())
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
        Filter::Bicubic => cubic(x.abs()),
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Lanczos => 0.0,
    }
}

/// Keys' cubic convolution kernel with coefficient -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
