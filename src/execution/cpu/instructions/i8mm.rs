//! Arm's `smmla`: adds the products of two rows and two columns of eight signed bytes to 2 × 2 sums. In assembly, because Rust's intrinsic for it is unstable.

use super::int8::{DEPTH, Int8};
use super::neon::{Neon, add_product};
use super::{Vector, unrolled};
use crate::data::int8::{BLOCK, row_words, words};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::{MultiplyWords, ROWS};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Rows whose sums are held in registers at once, with those of [`COLUMNS`]: half of all registers.
const TILE: usize = 8;

/// Columns of a tile.
const COLUMNS: usize = 8;

/// Partner of an odd last word.
static ZEROS: [u32; COLUMNS] = [0; COLUMNS];

/// Returns the multiplication of 8-bit integers, if this processor has matrix products of them.
pub fn detect() -> Option<MultiplyWords> {
    // SAFETY: the function is handed out only where the processor has the instruction.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
    is_aarch64_feature_detected!("i8mm").then_some(multiply)
}

/// Multiplies up to [`ROWS`] rows by a panel, block by block, so that a block of both stays in the first-level cache.
///
/// # Safety
/// The processor must have the instruction.
unsafe fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
    let (stride, integers) = (row_words(k), words(k));
    let rows = x.len() / stride;
    assert!(rows <= ROWS && rows * stride == x.len() && panel.len() == stride * PANEL);
    for block in 0..k.div_ceil(BLOCK) {
        let (first, scale) = (block * DEPTH, integers + block);
        let depth = DEPTH.min(integers - first);
        for column in (0..PANEL).step_by(COLUMNS) {
            for row in (0..rows).step_by(TILE) {
                // An odd last row is its own partner, whose sums are not stored.
                let count = TILE.min(rows - row);
                let x: [*const u32; TILE] = std::array::from_fn(|i| x[(row + i.min(count - 1)) * stride..].as_ptr());
                // SAFETY: rows and columns are inside the slices, and behind the last word of a row is a scale; the caller guarantees the instruction.
                unsafe {
                    let w = panel.as_ptr().add(first * PANEL + column);
                    let mut products = [[vdupq_n_s32(0); 4]; TILE / 2];
                    match count.div_ceil(2) {
                        1 => add_products::<1>(&mut products, &x, first, w, depth),
                        2 => add_products::<2>(&mut products, &x, first, w, depth),
                        3 => add_products::<3>(&mut products, &x, first, w, depth),
                        _ => add_products::<{ TILE / 2 }>(&mut products, &x, first, w, depth),
                    }
                    for i in 0..count {
                        let [a, b, c, d] = products[i / 2];
                        let scale_of_row = f32::from_bits(*x[i].add(scale));
                        for (left, right, column) in [(a, b, column), (c, d, column + Neon::LANES)] {
                            let [left, right] = [left, right].map(|sums| vreinterpretq_s64_s32(sums));
                            let sums_of_row = if i % 2 == 0 { vtrn1q_s64(left, right) } else { vtrn2q_s64(left, right) };
                            let to = sums.as_mut_ptr().add((row + i) * PANEL + column);
                            Neon::add_scaled(vreinterpretq_s32_s64(sums_of_row), scale_of_row, panel.as_ptr().add(scale * PANEL + column), to);
                        }
                    }
                }
            }
        }
    }
}

/// Adds the products of the first `P` pairs of rows and four pairs of columns over `depth` words of a block, which begins at word `first` of rows x.
///
/// # Safety
/// The processor must have the instruction, and x and w these words; a word more of x is read if `depth` is odd.
#[inline(always)]
unsafe fn add_products<const P: usize>(to: &mut [[int32x4_t; 4]; TILE / 2], x: &[*const u32], first: usize, w: *const u32, depth: usize) {
    // SAFETY: the caller guarantees it.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; P];
        for k in (0..depth).step_by(2) {
            let upper = w.add(k * PANEL);
            let lower = if k + 1 < depth { upper.add(PANEL) } else { ZEROS.as_ptr() };
            // Two words of a column beside each other: the eight bytes that the instruction takes.
            let (left_upper, left_lower) = (vld1q_u32(upper), vld1q_u32(lower));
            let (right_upper, right_lower) = (vld1q_u32(upper.add(Neon::LANES)), vld1q_u32(lower.add(Neon::LANES)));
            let (a, b) = (vzip1q_u32(left_upper, left_lower), vzip2q_u32(left_upper, left_lower));
            let (c, d) = (vzip1q_u32(right_upper, right_lower), vzip2q_u32(right_upper, right_lower));
            unrolled!(pair < P, {
                let x = vcombine_u32(vld1_u32(x[2 * pair].add(first + k)), vld1_u32(x[2 * pair + 1].add(first + k)));
                sums[pair][0] = add_product(sums[pair][0], x, a);
                sums[pair][1] = add_product(sums[pair][1], x, b);
                sums[pair][2] = add_product(sums[pair][2], x, c);
                sums[pair][3] = add_product(sums[pair][3], x, d);
            });
        }
        to[..P].copy_from_slice(&sums);
    }
}

/// Adds the products of two rows and two columns to their sums: row by row.
///
/// # Safety
/// The processor must have the instruction.
#[inline(always)]
unsafe fn add_product(mut sums: int32x4_t, x: uint32x4_t, w: uint32x4_t) -> int32x4_t {
    // SAFETY: the caller guarantees the instruction, which uses registers only.
    unsafe {
        add_product!("i8mm", "smmla", "16b", sums, x, w);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::cpu::instructions::int8;

    #[test]
    fn smmla_multiplies_integers() {
        detect().map_or_else(|| println!("SKIPPED: the processor has no matrix products of integers"), int8::tests::check);
    }
}
