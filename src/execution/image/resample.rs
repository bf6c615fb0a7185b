//! Pillow's 8-bit resampling, bit for bit, and the same in f32 without rounding, as in torch with `antialias=True`.

use crate::execution::image::filter::{taps, taps_f32};
use crate::execution::image::{Converted, Filter, Taps};
use std::ops::Range;

/// Levels of a resized image, top row first, channels interleaved.
#[derive(Debug)]
pub struct Raster<L> {
    /// Levels per row: width · channels.
    pub stride: usize,
    pub data: Vec<L>,
}

/// Type of an image's levels.
pub trait Level: Copy {
    /// Weight of a level in a sum.
    type Weight: Copy;

    /// Returns the first neighbour of a pixel, and the weights of its neighbours.
    fn taps(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>);

    /// Rounds a weight to the precision in use.
    fn weight(exact: f64) -> Self::Weight;

    /// Returns the bits of a weight.
    fn bits(weight: Self::Weight) -> u32;

    /// Returns the weighted sum, accumulated in order.
    fn sum(weights: &[Self::Weight], levels: impl Iterator<Item = Self>) -> Self;
}

impl Level for u8 {
    type Weight = i32;

    fn taps(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>) {
        taps(filter, from, scale, i)
    }

    fn weight(exact: f64) -> i32 {
        let scaled = exact * f64::from(1 << PRECISION);
        (scaled + 0.5f64.copysign(scaled)) as i32
    }

    fn bits(weight: i32) -> u32 {
        weight.cast_unsigned()
    }

    fn sum(weights: &[i32], levels: impl Iterator<Item = u8>) -> u8 {
        let sum: i32 = weights.iter().zip(levels).map(|(weight, level)| weight * i32::from(level)).sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
    }
}

impl Level for f32 {
    type Weight = f32;

    fn taps(filter: Filter, from: usize, scale: f64, i: usize) -> (usize, Vec<f64>) {
        taps_f32(filter, from, scale, i)
    }

    fn weight(exact: f64) -> f32 {
        exact as f32
    }

    fn bits(weight: f32) -> u32 {
        weight.to_bits()
    }

    fn sum(weights: &[f32], levels: impl Iterator<Item = f32>) -> f32 {
        weights.iter().zip(levels).map(|(weight, level)| weight * level).sum()
    }
}

/// A region of the resized image.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// Fraction bits of a weight: 32 bits minus 8 for the level and 2 for sums above 1.
const PRECISION: u32 = 32 - 8 - 2;

/// Maximum number of levels in the image between the passes, which has the source rows read and the columns of the region.
const LARGEST_INTERMEDIATE: usize = 128 * 1024 * 1024;

/// Last pixel along an edge up to which nearest-neighbour resampling counts.
const LARGEST_NEAREST: usize = 1 << 24;

/// Resizes `image`, with its levels mapped by `level`, to `[height, width]` and returns `region` of the result. Returns `None` if the image is so long and thin that
/// the image between the passes would be far larger, or if nearest-neighbour resampling would have to count too far.
pub(super) fn resample<L: Level>(
    image: &Converted<'_>,
    level: impl Fn(u8) -> L,
    size: [usize; 2],
    region: Region,
    filter: Filter,
) -> Option<Raster<L>> {
    let (rows, columns) = taps_of_region::<L>(image.size(), size, region, filter)?;
    // The horizontal pass needs only the rows that the vertical pass reads.
    let needed = inputs(&rows);
    if needed.len() * region.width * image.channels > LARGEST_INTERMEDIATE {
        return None;
    }
    let across = horizontal(image, level, &columns, needed.clone());
    Some(vertical(&across, &rows, needed.start))
}

/// Returns the taps of the rows and columns of `region`, for an image of `[height, width]` resized to `size`. Returns `None` if
/// nearest-neighbour resampling would have to count too far.
pub fn tables<L: Level>([height, width]: [usize; 2], size: [usize; 2], region: Region, filter: Filter) -> Option<[Taps; 2]> {
    let (rows, columns) = taps_of_region::<L>([height, width], size, region, filter)?;
    let pixels = |taps: Vec<Tap<L>>| taps.into_iter().map(|tap| (tap.first as u32, tap.weights.into_iter().map(L::bits).collect())).collect();
    Some([Taps { pixels: pixels(rows) }, Taps { pixels: pixels(columns) }])
}

fn horizontal<L: Level>(image: &Converted<'_>, level: impl Fn(u8) -> L, columns: &[Tap<L>], rows: Range<usize>) -> Raster<L> {
    let (channels, mut row) = (image.channels, Vec::new());
    let mut data = Vec::with_capacity(rows.len() * columns.len() * channels);
    for y in rows {
        image.read(y, &mut row, &level);
        for tap in columns {
            let pixels = row[tap.first * channels..].chunks_exact(channels);
            data.extend((0..channels).map(|channel| L::sum(&tap.weights, pixels.clone().map(|pixel| pixel[channel]))));
        }
    }
    Raster { stride: columns.len() * channels, data }
}

/// Vertical pass. `image` starts at row `first` of the source that `rows` index.
fn vertical<L: Level>(image: &Raster<L>, rows: &[Tap<L>], first: usize) -> Raster<L> {
    let stride = image.stride;
    let mut data = Vec::with_capacity(rows.len() * stride);
    for tap in rows {
        let from = &image.data[(tap.first - first) * stride..];
        data.extend((0..stride).map(|column| L::sum(&tap.weights, from[column..].iter().step_by(stride).copied())));
    }
    Raster { stride, data }
}

/// Taps of a pixel of the result along one axis.
struct Tap<L: Level> {
    first: usize,
    weights: Vec<L::Weight>,
}

type TapsOfRegion<L> = (Vec<Tap<L>>, Vec<Tap<L>>);

/// Returns the taps of the rows and columns of a region of an image resized from one size to another.
fn taps_of_region<L: Level>(from: [usize; 2], to: [usize; 2], region: Region, filter: Filter) -> Option<TapsOfRegion<L>> {
    if filter == Filter::Nearest && (region.top + region.height).max(region.left + region.width) > LARGEST_NEAREST {
        return None;
    }
    let rows = taps_of::<L>(from[0], to[0], region.top..region.top + region.height, filter);
    Some((rows, taps_of::<L>(from[1], to[1], region.left..region.left + region.width, filter)))
}

/// Returns the taps of each pixel in a region of the result.
fn taps_of<L: Level>(from: usize, to: usize, region: Range<usize>, filter: Filter) -> Vec<Tap<L>> {
    let whole = |first| Tap { first, weights: vec![L::weight(1.0)] };
    let scale = from as f64 / to as f64;
    match filter {
        _ if from == to => region.map(whole).collect(),
        // Pillow accumulates the scale pixel by pixel, and its rounding errors decide which neighbour is taken.
        Filter::Nearest => {
            let places = std::iter::successors(Some(0.5 * scale), |place| Some(place + scale));
            places.take(region.end).skip(region.start).map(|place| whole((place as usize).min(from - 1))).collect()
        }
        _ => {
            let tap = |i| {
                let (first, weights) = L::taps(filter, from, scale, i);
                Tap { first, weights: weights.into_iter().map(L::weight).collect() }
            };
            region.map(tap).collect()
        }
    }
}

/// Returns the range of pixels read.
fn inputs<L: Level>(taps: &[Tap<L>]) -> Range<usize> {
    let start = taps.iter().map(|tap| tap.first).min().unwrap_or(0);
    let end = taps.iter().map(|tap| tap.first + tap.weights.len()).max().unwrap_or(0);
    start..end
}
