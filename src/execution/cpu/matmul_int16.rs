//! Products of 16-bit integers in place of f16.

use super::instructions::MultiplyPairs;
use super::parallel::{for_each_chunk, with_shared_workspace};
use super::product::{Target, product_of_words};
use super::vectors::vectorised;
use crate::data::int16::{self, BLOCK, WORD, row_words, words};
use crate::data::panels::PANEL;
use std::ops::Range;

/// Computes `x · wᵀ` as [`product_in_panels`](super::product::product_in_panels) does, of x rounded to integers and w in panels of integers.
pub fn product_of_integers(
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

vectorised! {
    fn quantise_row<'a>(values: &'a [f32], row: &'a mut [u32]) -> () {
        int16::quantise(values, row);
    }
}
