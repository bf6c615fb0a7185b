//! Pillow's 8-bit resampling, bit for bit.

use super::Picture;
use crate::config::Filter;
use crate::filter::taps;

/// A stretch of the resized picture.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// Fraction bits of a weight: 32 bits less 8 for the level and 2 for sums beyond 1.
const PRECISION: u32 = 32 - 8 - 2;

/// The most bytes of the picture between the passes, which is as high as the first and as wide as the second.
const LARGEST_INTERMEDIATE: usize = 128 * 1024 * 1024;

/// The last pixel of a resized edge that nearest-neighbour resampling counts its way to.
const LARGEST_NEAREST: usize = 1 << 24;

/// Resizes `picture` to `[height, width]` and gives `window` of the result; nothing if the picture is so
/// long and thin that what lies between the passes would be larger than the picture by far.
pub fn resample(picture: &Picture, [height, width]: [usize; 2], window: Window, filter: Filter) -> Option<Picture> {
    if filter == Filter::Nearest && (window.top + window.height).max(window.left + window.width) > LARGEST_NEAREST {
        return None;
    }
    let rows = Taps::new(picture.height, height, window.top..window.top + window.height, filter);
    let columns = Taps::new(picture.width, width, window.left..window.left + window.width, filter);
    // The horizontal pass is needed for those rows only that the vertical one reads.
    let needed = rows.inputs();
    if needed.len() * window.width * picture.channels > LARGEST_INTERMEDIATE {
        return None;
    }
    let across = horizontal(picture, &columns, needed.clone());
    Some(vertical(&across, &rows, needed.start))
}

fn horizontal(picture: &Picture, columns: &Taps, rows: std::ops::Range<usize>) -> Picture {
    let channels = picture.channels;
    let mut data = Vec::with_capacity(rows.len() * columns.0.len() * channels);
    for y in rows.clone() {
        let row = &picture.data[y * picture.width * channels..][..picture.width * channels];
        for tap in &columns.0 {
            let pixels = row[tap.first * channels..].chunks_exact(channels);
            data.extend((0..channels).map(|channel| tap.sum(pixels.clone().map(|pixel| pixel[channel]))));
        }
    }
    Picture { width: columns.0.len(), height: rows.len(), channels, data }
}

/// `picture` begins at row `first` of the one that `rows` counts from.
fn vertical(picture: &Picture, rows: &Taps, first: usize) -> Picture {
    let stride = picture.width * picture.channels;
    let mut data = Vec::with_capacity(rows.0.len() * stride);
    for tap in &rows.0 {
        let from = &picture.data[(tap.first - first) * stride..];
        data.extend((0..stride).map(|column| tap.sum(from[column..].iter().step_by(stride).copied())));
    }
    Picture { height: rows.0.len(), data, ..*picture }
}

/// For each pixel of the result, along one axis, what it is made of.
struct Taps(Vec<Tap>);

struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Tap {
    fn sum(&self, levels: impl Iterator<Item = u8>) -> u8 {
        let sum: i32 = self.weights.iter().zip(levels).map(|(weight, level)| weight * i32::from(level)).sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
    }
}

impl Taps {
    fn new(from: usize, to: usize, window: std::ops::Range<usize>, filter: Filter) -> Taps {
        let whole = |first| Tap { first, weights: vec![1 << PRECISION] };
        let scale = from as f64 / to as f64;
        Taps(match filter {
            _ if from == to => window.map(whole).collect(),
            // Pillow adds the scale up pixel by pixel, and its rounding errors decide which neighbour is taken.
            Filter::Nearest => {
                let places = std::iter::successors(Some(0.5 * scale), |place| Some(place + scale));
                places.take(window.end).skip(window.start).map(|place| whole((place as usize).min(from - 1))).collect()
            }
            _ => window.map(|i| tap(from, scale, i, filter)).collect(),
        })
    }

    /// The pixels that are read.
    fn inputs(&self) -> std::ops::Range<usize> {
        let start = self.0.iter().map(|tap| tap.first).min().unwrap_or(0);
        let end = self.0.iter().map(|tap| tap.first + tap.weights.len()).max().unwrap_or(0);
        start..end
    }
}

fn tap(from: usize, scale: f64, i: usize, filter: Filter) -> Tap {
    let (first, weights) = taps(filter, from, scale, i);
    let fixed = |weight: f64| {
        let scaled = weight * f64::from(1 << PRECISION);
        (scaled + 0.5f64.copysign(scaled)) as i32
    };
    Tap { first, weights: weights.into_iter().map(fixed).collect() }
}
