//! Products of 16-bit integers, packed two to a word, with a scale for each block of both factors.

use super::int8::Int8;
use super::{TILE, add_products, in_tiles};
use crate::data::panels::PANEL;

/// Instructions for 16-bit integers, with sums in i32. For the safety of all functions, see [`Vector`](super::Vector).
pub(super) trait Int16: Int8 {
    /// Vectors of sums of a row that registers hold at once, for [`TILE`] rows.
    const ACROSS: usize;

    /// Adds the two products of each word.
    unsafe fn dot_pairs(sums: Self::Sums, x: Self::Words, w: Self::Words) -> Self::Sums;
}

/// See [`MultiplyPairs`](super::MultiplyPairs).
///
/// # Safety
/// See [`Vector`](super::Vector).
#[inline(always)]
pub(super) unsafe fn multiply<D: Int16>(x: &[u32], panel: &[u32], words: usize, depth: usize, columns: usize, sums: &mut [f32], stride: usize) {
    let row_words = words + words.div_ceil(depth);
    let rows = x.len() / row_words;
    assert!(rows > 0 && rows * row_words == x.len() && row_words * PANEL <= panel.len());
    assert!(columns <= PANEL && columns.is_multiple_of(D::LANES) && columns <= stride && (rows - 1) * stride + columns <= sums.len());
    for row in sums.chunks_mut(stride).take(rows) {
        row[..columns].fill(0.0);
    }
    for (block, first) in (0..words).step_by(depth).enumerate() {
        let depth = depth.min(words - first);
        for column in (0..columns).step_by(D::ACROSS * D::LANES) {
            // SAFETY: rows and columns are inside the slices, by the asserts; the caller guarantees the instructions.
            unsafe {
                let (x, w) = (x.as_ptr(), panel.as_ptr().add(column));
                let block = Block { rows, stride: row_words, depth, x: x.add(first), w: w.add(first * PANEL), scale: words + block - first };
                let sums = sums.as_mut_ptr().add(column);
                match ((columns - column) / D::LANES).min(D::ACROSS) {
                    1 => block.multiply::<D, 1>(sums, stride),
                    2 => block.multiply::<D, 2>(sums, stride),
                    3 => block.multiply::<D, 3>(sums, stride),
                    _ => block.multiply::<D, 4>(sums, stride),
                }
            }
        }
    }
}

/// A block of rows of x and of columns of w.
struct Block {
    rows: usize,
    /// Words between rows of x.
    stride: usize,
    depth: usize,
    x: *const u32,
    w: *const u32,
    /// Words of x, and rows of w, from the first to the scales.
    scale: usize,
}

impl Block {
    /// Adds the products with `V` vectors of columns to sums.
    ///
    /// # Safety
    /// See [`Vector`](super::Vector); x, w and sums must have these rows and columns.
    #[inline(always)]
    unsafe fn multiply<D: Int16, const V: usize>(self, sums: *mut f32, sums_stride: usize) {
        let Block { rows, stride, depth, x, w, scale } = self;
        // SAFETY: the caller guarantees it.
        unsafe {
            in_tiles!(rows, |row, R| {
                let x = x.add(row * stride);
                let products = add_products::<D, _, V, R>([[D::zero(); V]; R], (x, stride), 0, w, depth, |sums, x, w| D::dot_pairs(sums, x, w));
                for (i, products) in products.into_iter().enumerate() {
                    let scale_of_row = f32::from_bits(*x.add(i * stride + scale));
                    for (vector, products) in products.into_iter().enumerate() {
                        let scales = w.add(scale * PANEL + vector * D::LANES);
                        D::add_scaled(products, scale_of_row, scales, sums.add((row + i) * sums_stride + vector * D::LANES));
                    }
                }
            });
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::execution::cpu::instructions::MultiplyPairs;
    use crate::execution::cpu::instructions::tests::fewer_under_miri;

    /// Checks a multiplication of integers against sums in f64 of exact products.
    pub fn check(multiply: MultiplyPairs) {
        let sizes = [[1, 16, 1, 1], [6, 64, 32, 32], [7, 48, 37, 16], [48, 32, 40, 16], [5, 64, 1, 16]];
        for [rows, columns, words, depth] in fewer_under_miri(sizes, [[7, 16, 5, 4]]) {
            let blocks = words.div_ceil(depth);
            let integer = |i: usize| (i * 7919 % 4001) as i16 - 2000;
            let word = |i: usize| u32::from(integer(2 * i) as u16) | u32::from(integer(2 * i + 1) as u16) << 16;
            let scale = |i: usize| 1.0 + (i % 5) as f32;
            let row = |row: usize| (0..words).map(move |k| word(row * 53 + k)).chain((0..blocks).map(move |block| scale(row + block).to_bits()));
            let x: Vec<u32> = (0..rows).flat_map(row).collect();
            let of_panel =
                |k: usize| (0..PANEL).map(move |column| if k < words { word(k * 31 + column) } else { scale(column + k - words).to_bits() });
            let w: Vec<u32> = (0..words + blocks).flat_map(of_panel).collect();
            let stride = columns + 3;
            let mut sums = vec![f32::NAN; rows * stride];
            multiply(&x, &w, words, depth, columns, &mut sums, stride);
            for (row, sums) in sums.chunks(stride).enumerate() {
                for (column, got) in sums[..columns].iter().enumerate() {
                    let half = |word: u32, part: u32| i64::from((word >> (16 * part)) as i16);
                    let product = |k: usize, part: u32| half(word(row * 53 + k), part) * half(word(k * 31 + column), part);
                    let scales = |k: usize| f64::from(scale(row + k / depth)) * f64::from(scale(column + k / depth));
                    let terms = (0..words).map(|k| (product(k, 0) + product(k, 1)) as f64 * scales(k));
                    let (want, magnitude) = terms.fold((0.0, 0.0), |(sum, magnitude), term: f64| (sum + term, magnitude + term.abs()));
                    let tolerance = f64::from(f32::EPSILON) * magnitude * blocks as f64;
                    assert!((f64::from(*got) - want).abs() <= tolerance, "{rows} x {columns} x {words} words: {got} instead of {want}");
                }
                assert!(sums[columns..].iter().all(|value| value.is_nan()), "a sum beyond the columns was written");
            }
        }
    }
}
