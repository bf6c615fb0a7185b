//! Products of 8-bit integers with a scale for each block of both factors.

use super::{TILE, Vector, add_products, in_tiles};
use crate::data::int8::{BLOCK, WORD, row_words, words};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::ROWS;

/// Words of a block.
pub(super) const DEPTH: usize = BLOCK / WORD;

/// Instructions for 8-bit integers, with sums in i32. For the safety of all functions, see [`Vector`].
pub(super) trait Int8: Vector {
    /// Added to each byte of x, modulo 256, in all bytes of a word: 128 for instructions that take x unsigned, else 0.
    const OFFSET: u32;
    type Sums: Copy;

    /// Adds the four products of each word.
    unsafe fn dot(sums: Self::Sums, x: Self::Words, w: Self::Words) -> Self::Sums;
    unsafe fn zero() -> Self::Sums;
    unsafe fn negative(sums: Self::Sums) -> Self::Sums;
    /// Adds the sums times `scale` and their scales of w to sums in f32.
    unsafe fn add_scaled(sums: Self::Sums, scale: f32, scales: *const u32, to: *mut f32);
}

/// Multiplies up to [`ROWS`] rows by a panel, in tiles of `V` vectors across, block by block, so that a block of both stays in the first-level cache.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn multiply<D: Int8, const V: usize>(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
    let (stride, integers) = (row_words(k), words(k));
    let rows = x.len() / stride;
    assert!(rows <= ROWS && rows * stride == x.len() && panel.len() == stride * PANEL);
    for block in 0..k.div_ceil(BLOCK) {
        let (first, scale) = (block * DEPTH, integers + block);
        let depth = DEPTH.min(integers - first);
        for column in (0..PANEL).step_by(V * D::LANES) {
            // SAFETY: rows and columns are inside the slices; the caller guarantees the instructions.
            unsafe {
                let w = panel.as_ptr().add(first * PANEL + column);
                let start: [D::Sums; V] = start::<D, V>(w, depth);
                in_tiles!(rows, |row, R| {
                    let x = x.as_ptr().add(row * stride);
                    let products =
                        add_products::<D, _, V, R>([start; R], (x.add(first), stride), D::OFFSET, w, depth, |sums, x, w| D::dot(sums, x, w));
                    for (i, products) in products.into_iter().enumerate() {
                        let scale_of_row = f32::from_bits(*x.add(i * stride + scale));
                        for (vector, products) in products.into_iter().enumerate() {
                            let column = column + vector * D::LANES;
                            let to = sums.as_mut_ptr().add((row + i) * PANEL + column);
                            D::add_scaled(products, scale_of_row, panel.as_ptr().add(scale * PANEL + column), to);
                        }
                    }
                });
            }
        }
    }
}

/// Returns the initial sums of a block: -128 · Σ w, which cancels the offset of x, or 0 without offset.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
unsafe fn start<D: Int8, const V: usize>(w: *const u32, depth: usize) -> [D::Sums; V] {
    // SAFETY: the caller guarantees it.
    unsafe {
        let zero = [[D::zero(); V]];
        if D::OFFSET == 0 {
            return zero[0];
        }
        let offset = [D::OFFSET; DEPTH];
        add_products::<D, _, V, 1>(zero, (offset.as_ptr(), DEPTH), 0, w, depth, |sums, x, w| D::dot(sums, x, w))[0].map(|sums| D::negative(sums))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::data::capabilities::Precision;
    use crate::data::int8;
    use crate::data::panels::Packed;
    use crate::execution::cpu::instructions::tests::fewer_under_miri;
    use crate::execution::cpu::product::{MultiplyWords, Target, product_in_panels, product_of_words};

    /// Checks a multiplication of integers against that of the values that they stand for.
    pub fn check(multiply: MultiplyWords) {
        for [m, n, k] in fewer_under_miri([[1, 1, 1], [7, 70, 33], [ROWS + 5, 64, 96], [3, 130, 31]], [[2, 65, 33]]) {
            // The first row is of the largest integers, whose products are the first to overflow; the second is their negative.
            let value = |i: usize| match i / k {
                0 => 1.0,
                1 => -1.0,
                _ => ((i * 7919) % 1009) as f32 / 504.0 - 1.0,
            };
            let x: Vec<f32> = (0..m * k).map(value).collect();
            let w: Vec<f32> = (0..n * k).map(|i| value(if i < 2 * k { i } else { i + 5 })).collect();
            let packed = Packed::new(&w, [n, k], Precision::Int8);
            let Packed::Int8(words) = &packed else { panic!("integers") };
            let (mut rows, mut restored) = (Vec::new(), vec![0.0; m * k]);
            for (x, restored) in x.chunks(k).zip(restored.chunks_mut(k)) {
                let mut row = vec![0; row_words(k)];
                int8::quantise(x, &mut row);
                int8::restore(&row, restored);
                rows.extend(row);
            }
            let set = |_, _, sums: &mut [f32], y: &mut [f32]| y.copy_from_slice(sums);
            let (mut got, mut want) = (vec![0.0; m * n], vec![1.0; m * n]);
            product_of_words([m, n, k], row_words(k), [&rows, words], Target { data: &mut got, row_stride: n }, set, multiply);
            product_in_panels([m, n, k], &restored, packed.panels(), Target { data: &mut want, row_stride: n }, set);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                // Some roundings of each of the sums, which are at most K.
                let is_close = (got - want).abs() <= 4.0 * f32::EPSILON * k as f32;
                assert!(is_close, "{m} x {n} x {k}: {got} instead of {want} in row {}, column {}", i / n, i % n);
            }
        }
    }
}
