//! Products of bf16.

use super::{TILE, Vector, add_products, in_tiles};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::ROWS;

/// Words of K per pass over the rows: few enough that this much of a panel stays in the first-level cache.
const DEPTH: usize = 64;

/// Instructions for bf16, with sums in f32. For the safety of all functions, see [`Vector`].
pub(super) trait Bf16: Vector {
    type Sums: Copy;

    /// Adds the two products of each word.
    unsafe fn dot(sums: Self::Sums, x: Self::Words, w: Self::Words) -> Self::Sums;
    unsafe fn load_sums(from: *const f32) -> Self::Sums;
    unsafe fn store_sums(sums: Self::Sums, to: *mut f32);
}

/// Multiplies up to [`ROWS`] rows of `stride` words by a panel, [`DEPTH`] words at a time, in tiles of `V` vectors across.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn multiply<D: Bf16, const V: usize>(x: &[u32], panel: &[u32], stride: usize, sums: &mut [f32; ROWS * PANEL]) {
    let rows = x.len() / stride;
    assert!(rows <= ROWS && rows * stride == x.len() && panel.len() == stride * PANEL);
    for first in (0..stride).step_by(DEPTH) {
        let depth = DEPTH.min(stride - first);
        for column in (0..PANEL).step_by(V * D::LANES) {
            in_tiles!(rows, |row, R| {
                // SAFETY: rows and columns are inside the slices; the caller guarantees the instructions.
                unsafe {
                    let x = (x.as_ptr().add(row * stride + first), stride);
                    let w = panel.as_ptr().add(first * PANEL + column);
                    let sums = sums.as_mut_ptr().add(row * PANEL + column);
                    let before: [[D::Sums; V]; R] =
                        std::array::from_fn(|row| std::array::from_fn(|i| D::load_sums(sums.add(row * PANEL + i * D::LANES))));
                    let after = add_products::<D, _, V, R>(before, x, 0, w, depth, |sums, x, w| D::dot(sums, x, w));
                    for (row, after) in after.into_iter().enumerate() {
                        after.into_iter().enumerate().for_each(|(i, after)| D::store_sums(after, sums.add(row * PANEL + i * D::LANES)));
                    }
                }
            });
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::data::bf16::{self, words};
    use crate::data::capabilities::Precision;
    use crate::data::panels::Packed;
    use crate::execution::cpu::product::{MultiplyWords, Target, product_in_panels, product_of_words};

    /// Checks a multiplication of bf16 against that of the same values in f32.
    pub fn check(multiply: MultiplyWords) {
        for sizes @ [m, n, k] in [[1, 1, 1], [7, 70, 33], [ROWS + 5, 64, 96], [3, 130, 31], [21, 66, 300], [ROWS, 64, 512]] {
            let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.0 - 1.0;
            let w: Vec<f32> = (0..n * k).map(|i| value(i + 5)).collect();
            let packed = Packed::new(&w, [n, k], Precision::Bf16);
            let Packed::Bf16Pairs(w) = &packed else { panic!("pairs") };
            let (mut x, mut restored) = (vec![0; m * words(k)], vec![0.0; m * k]);
            for (i, (row, restored)) in x.chunks_mut(words(k)).zip(restored.chunks_mut(k)).enumerate() {
                let values: Vec<f32> = (i * k..(i + 1) * k).map(value).collect();
                bf16::round(&values, row);
                bf16::restore(row, restored);
            }
            let set = |_, _, sums: &mut [f32], y: &mut [f32]| y.copy_from_slice(sums);
            let (mut got, mut want) = (vec![0.0; m * n], vec![1.0; m * n]);
            product_of_words(sizes, words(k), [&x, w], Target { data: &mut got, row_stride: n }, set, multiply);
            product_in_panels(sizes, &restored, packed.panels(), Target { data: &mut want, row_stride: n }, set);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                // Some roundings of each of the sums, which are at most K.
                let is_close = (got - want).abs() <= 4.0 * f32::EPSILON * k as f32;
                assert!(is_close, "{m} x {n} x {k}: {got} instead of {want} in row {}, column {}", i / n, i % n);
            }
        }
    }

    /// A multiplication without special instructions, to test the test.
    #[test]
    fn plain_loops_multiply_bf16() {
        check(|x, panel, k, sums| {
            for (x, sums) in x.chunks(words(k)).zip(sums.chunks_mut(PANEL)) {
                sums.fill(0.0);
                for (x, w) in x.iter().zip(panel.chunks(PANEL)) {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        let (x, w) = (bf16::numbers(*x), bf16::numbers(*w));
                        *sum += x[0] * w[0] + x[1] * w[1];
                    }
                }
            }
        });
    }
}
