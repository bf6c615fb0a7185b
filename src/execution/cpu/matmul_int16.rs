//! Products of 16-bit integers in place of f16.

use super::instructions::{MultiplyPairs, fast_int16};
use super::parallel::{for_each_chunk, with_shared_workspace};
use super::product::{Target, product_of_words};
use super::vectors::vectorised;
use crate::data::int16::{self, BLOCK, WORD, row_words, words};
use crate::data::panels::PANEL;
use std::ops::Range;

/// Computes `x · wᵀ` as [`product_in_panels`](super::product::product_in_panels) does, of x rounded to integers and w in panels of integers.
pub(super) fn product_of_integers(
    sizes @ [m, _, k]: [usize; 3],
    x: &[f32],
    w: &[u32],
    y: Target,
    finish: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
    multiply: MultiplyPairs,
) {
    let stride = row_words(k);
    with_shared_workspace(m * stride, |rows| {
        let rows: &mut [u32] = bytemuck::cast_slice_mut(rows);
        for_each_chunk(rows, stride, |row, words| quantise_row(&x[row * k..][..k], words));
        product_of_words(sizes, stride, [rows, w], y, finish, |x, panel, k, sums| multiply(x, panel, words(k), BLOCK / WORD, PANEL, sums, PANEL));
    });
}

/// Returns whether this processor multiplies 16-bit integers faster than f32.
pub fn is_native() -> bool {
    fast_int16().is_some()
}

vectorised! {
    fn quantise_row<'a>(values: &'a [f32], row: &'a mut [u32]) -> () {
        int16::quantise(values, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::int16::LARGEST;
    use crate::data::panels::{Packed, Panels};
    use crate::execution::cpu::instructions::for_int16;
    use crate::execution::cpu::product::product_in_panels;

    fn values(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| (((i + salt) * 7919) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    fn product(sizes @ [m, n, _]: [usize; 3], x: &[f32], w: &Packed, multiply: MultiplyPairs) -> Vec<f32> {
        let Panels::Int16 { words, .. } = w.panels() else { panic!("integers") };
        let mut y = vec![f32::NAN; m * n];
        product_of_integers(sizes, x, words, Target { data: &mut y, row_stride: n }, |_, _, sums, y| y.copy_from_slice(sums), multiply);
        y
    }

    #[test]
    fn products_of_integers_are_off_by_their_rounding() {
        let Some(multiply) = for_int16() else {
            println!("SKIPPED: the processor has no instructions for integers of 16 bits");
            return;
        };
        for sizes @ [m, n, k] in [[1, 1, 1], [7, 70, 33], [53, 64, 96], [3, 130, 47]] {
            let (x, w) = (values(m * k, 0), values(n * k, 5));
            let got = product(sizes, &x, &Packed::int16(&w, [n, k]), multiply);
            // Numbers up to 1 are off by half a step; sums are rounded once per block.
            let bound = k as f64 * (2.0 / (2.0 * f64::from(LARGEST)) + k.div_ceil(BLOCK) as f64 * f64::from(f32::EPSILON));
            for (row, got) in got.chunks(n).enumerate() {
                for (column, got) in got.iter().enumerate() {
                    let exact: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[column * k + i])).sum();
                    assert!((f64::from(*got) - exact).abs() <= bound, "{m} x {n} x {k}: {got} instead of {exact}");
                }
            }
        }
    }

    #[test]
    fn panels_of_integers_are_widened_to_f32() {
        let sizes @ [m, n, k] = [5, 70, 45];
        // With the largest integer in each block, scales are 1.
        let x: Vec<f32> = (0..m * k).map(|i| (i % 5) as f32).collect();
        let w: Vec<f32> = (0..n * k).map(|i| if i % k % BLOCK == 0 { LARGEST } else { (i % 64) as f32 - 32.0 }).collect();
        let packed = Packed::int16(&w, [n, k]);
        let mut y = vec![f32::NAN; m * n];
        product_in_panels(sizes, &x, packed.panels(), Target { data: &mut y, row_stride: n }, |_, _, sums, y| y.copy_from_slice(sums));
        let exact = |i: usize| (0..k).map(|at| x[i / n * k + at] * w[i % n * k + at]).sum::<f32>();
        assert!(y.iter().enumerate().all(|(i, value)| *value == exact(i)));
    }

    #[test]
    fn values_that_are_not_finite_are_not_hidden() {
        let Some(multiply) = for_int16() else { return };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = values(3 * 40, 0);
            x[40 + 35] = bad;
            let y = product([3, 64, 40], &x, &Packed::int16(&values(64 * 40, 3), [64, 40]), multiply);
            assert!((0..3).all(|row| y[row * 64..][..64].iter().all(|value| value.is_finite() != (row == 1))), "{bad}");
        }
    }
}
