//! Products of f32.

use super::{TILE, Vector, add_row, in_tiles, unrolled};
use crate::data::panels::{PANEL, STRIP};
use crate::execution::cpu::product::ROWS;

/// Vectors of a row of a strip.
const ACROSS: usize = 2;

/// Rows of a strip at a time: few enough that they stay in the first-level cache, and that sums of so many products are rounded no worse than those of `gemm`.
const DEPTH: usize = 384;

/// Rows of a strip whose products are added in a stretch of code without branches, so that the places of rows of x are computed once for so many.
const UNROLLED: usize = 4;

/// Instructions for f32. For the safety of all functions, see [`Vector`].
pub(super) trait Float: Vector {
    type Sums: Copy;

    unsafe fn zero() -> Self::Sums;
    unsafe fn add_product(sums: Self::Sums, x: Self::Words, w: Self::Words) -> Self::Sums;
    unsafe fn store(sums: Self::Sums, to: *mut f32);
    /// Adds sums to those in memory.
    unsafe fn add_to(sums: Self::Sums, to: *mut f32);
}

/// See [`MultiplyFloats`](super::MultiplyFloats).
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn multiply<D: Float>(x: &[f32], panel: &[f32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
    const { assert!(ACROSS * D::LANES == STRIP) };
    let rows = x.len() / k;
    assert!(rows <= ROWS && rows * k == x.len() && panel.len() == k * PANEL);
    for first in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - first);
        for strip in 0..PANEL / STRIP {
            in_tiles!(rows, |row, R| {
                // SAFETY: rows and columns are inside the slices; the caller guarantees the instructions.
                unsafe {
                    let x = x.as_ptr().add(row * k + first).cast();
                    let w = panel.as_ptr().add((strip * k + first) * STRIP).cast();
                    let products = products::<D, R>((x, k), w, depth);
                    for (i, products) in products.into_iter().enumerate() {
                        let to = sums.as_mut_ptr().add((row + i) * PANEL + strip * STRIP);
                        for (i, products) in products.into_iter().enumerate() {
                            let to = to.add(i * D::LANES);
                            if first == 0 { D::store(products, to) } else { D::add_to(products, to) }
                        }
                    }
                }
            });
        }
    }
}

/// Returns the products of `depth` values of `R` rows of x, which are `stride` apart, and as many rows of a strip.
///
/// # Safety
/// See [`Vector`]; x and w must have all these values.
#[inline(always)]
unsafe fn products<D: Float, const R: usize>((x, stride): (*const u32, usize), w: *const u32, depth: usize) -> [[D::Sums; ACROSS]; R] {
    // SAFETY: the caller guarantees it.
    unsafe {
        let add = |sums, x, w| D::add_product(sums, x, w);
        let mut sums = [[D::zero(); ACROSS]; R];
        let whole = depth - depth % UNROLLED;
        for first in (0..whole).step_by(UNROLLED) {
            unrolled!(i < UNROLLED, {
                let k = first + i;
                sums = add_row::<D, _, ACROSS, R>(sums, (x.add(k), stride), 0, w.add(k * STRIP), &add);
            });
        }
        for k in whole..depth {
            sums = add_row::<D, _, ACROSS, R>(sums, (x.add(k), stride), 0, w.add(k * STRIP), &add);
        }
        sums
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::data::panels::Packed;
    use crate::execution::cpu::instructions::MultiplyFloats;
    use crate::execution::cpu::instructions::tests::fewer_under_miri;

    /// Checks a multiplication against sums in f64.
    pub fn check(multiply: MultiplyFloats) {
        let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.0 - 1.0;
        let sizes = [[1, 1, 1], [7, 64, 33], [ROWS, 50, 300], [3, 17, 2 * DEPTH + 5]];
        for [rows, columns, k] in fewer_under_miri(sizes, [[7, 17, 5], [1, 1, DEPTH + 5]]) {
            let (x, w): (Vec<_>, Vec<_>) = ((0..rows * k).map(value).collect(), (0..columns * k).map(|i| value(i + 5)).collect());
            let Packed::Strips(panel) = Packed::strips(&w, [columns, k]) else { panic!("strips") };
            let mut sums = [f32::NAN; ROWS * PANEL];
            multiply(&x, &panel, k, &mut sums);
            for (row, sums) in sums.chunks(PANEL).enumerate() {
                if row >= rows {
                    assert!(sums.iter().all(|sum| sum.is_nan()), "row {row} of {rows} was written");
                    continue;
                }
                for (column, got) in sums.iter().enumerate() {
                    let product = |i: usize| if column < columns { f64::from(x[row * k + i]) * f64::from(w[column * k + i]) } else { 0.0 };
                    let (want, magnitude) = (0..k).map(product).fold((0.0, 0.0), |(sum, magnitude), term| (sum + term, magnitude + term.abs()));
                    // Each sum is of a block's products, and then of blocks.
                    let roundings = k.min(DEPTH) + k.div_ceil(DEPTH);
                    let tolerance = f64::from(f32::EPSILON) / 2.0 * roundings as f64 * magnitude;
                    assert!((f64::from(*got) - want).abs() <= tolerance, "{rows} x {columns} x {k}: {got} instead of {want}");
                }
            }
        }
    }
}
