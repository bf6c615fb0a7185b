//! Products of bf16 by AVX-512 BF16, whose `vdpbf16ps` adds two products to each of sixteen f32 sums.

use super::product::{MultiplyWords, ROWS};
use crate::data::bf16::words;
use crate::data::panels::PANEL;
use std::arch::x86_64::*;

/// Sums per vector.
const LANES: usize = 16;

/// Vectors across a panel.
const VECTORS: usize = PANEL / LANES;

/// Rows whose sums are held in registers at once.
const TILE: usize = 6;

/// Words of K per pass over the rows: few enough that this much of a panel stays in the first-level cache.
const DEPTH: usize = 64;

/// Returns the multiplication by AVX-512 BF16, if this processor has it.
pub fn detect() -> Option<MultiplyWords> {
    // SAFETY: the function is handed out only where the processor has AVX-512 F and BF16.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, words(k), sums) };
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")).then_some(multiply)
}

/// Multiplies up to [`ROWS`] rows by a panel, [`DEPTH`] words at a time.
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply(x: &[u32], panel: &[u32], stride: usize, sums: &mut [f32; ROWS * PANEL]) {
    let rows = x.len() / stride;
    sums[..rows * PANEL].fill(0.0);
    for (part, panel) in panel.chunks(DEPTH * PANEL).enumerate() {
        let first = part * DEPTH;
        let mut tiles = sums[..rows * PANEL].chunks_exact_mut(TILE * PANEL);
        let mut x = x.chunks(TILE * stride);
        for (sums, x) in (&mut tiles).zip(&mut x) {
            multiply_tile::<TILE>(x, stride, first, panel, sums);
        }
        let (sums, x) = (tiles.into_remainder(), x.next().unwrap_or_default());
        match sums.len() / PANEL {
            1 => multiply_tile::<1>(x, stride, first, panel, sums),
            2 => multiply_tile::<2>(x, stride, first, panel, sums),
            3 => multiply_tile::<3>(x, stride, first, panel, sums),
            4 => multiply_tile::<4>(x, stride, first, panel, sums),
            5 => multiply_tile::<5>(x, stride, first, panel, sums),
            _ => {}
        }
    }
}

/// Adds the products of some words of `R` rows, from `first`, and these rows of a panel to `sums`. The sums stay in registers only if loops have constant
/// bounds and no exit.
#[allow(clippy::needless_range_loop)]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_tile<const R: usize>(x: &[u32], stride: usize, first: usize, panel: &[u32], sums: &mut [f32]) {
    let depth = panel.len() / PANEL;
    assert!(first + depth <= stride && R * stride <= x.len() && R * PANEL <= sums.len());
    let mut totals = [[_mm512_setzero_ps(); VECTORS]; R];
    for row in 0..R {
        for i in 0..VECTORS {
            // SAFETY: `sums` has R rows of vectors.
            totals[row][i] = unsafe { _mm512_loadu_ps(sums.as_ptr().add(row * PANEL + i * LANES)) };
        }
    }
    for i in 0..depth {
        // SAFETY: the panel has `depth` rows of vectors, and each of the `R` rows of x as many words from `first`.
        let (w, x) = unsafe { (panel.as_ptr().add(i * PANEL), x.as_ptr().add(first + i)) };
        let w: [__m512i; VECTORS] = unsafe { [vector(w, 0), vector(w, 1), vector(w, 2), vector(w, 3)] };
        for row in 0..R {
            let x = _mm512_set1_epi32(unsafe { *x.add(row * stride) } as i32);
            for i in 0..VECTORS {
                totals[row][i] = _mm512_dpbf16_ps(totals[row][i], pairs(x), pairs(w[i]));
            }
        }
    }
    for row in 0..R {
        for i in 0..VECTORS {
            // SAFETY: `sums` has R rows of vectors.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(row * PANEL + i * LANES), totals[row][i]) };
        }
    }
}

/// Loads the vector with this number.
///
/// # Safety
/// It must lie inside an allocation.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn vector(words: *const u32, number: usize) -> __m512i {
    // SAFETY: the caller guarantees it.
    unsafe { _mm512_loadu_si512(words.add(number * LANES).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pairs(words: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes without invalid values.
    unsafe { std::mem::transmute(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::cpu::matmul_bf16::tests::check;

    #[test]
    fn avx512_multiplies_numbers() {
        match detect() {
            Some(multiply) => check(multiply),
            None => println!("SKIPPED: the processor has no AVX-512 BF16"),
        }
    }
}
