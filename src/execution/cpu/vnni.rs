//! Products of 8-bit integers by AVX-512 VNNI, whose `vpdpbusd` adds four products of an unsigned and a signed byte to each of sixteen sums.

use super::product::{MultiplyWords, ROWS};
use crate::data::int8::{BLOCK, WORD, row_words, words};
use crate::data::panels::PANEL;
use std::arch::x86_64::*;

/// Sums per vector.
const LANES: usize = 16;

/// Vectors across a panel.
const VECTORS: usize = PANEL / LANES;

/// Rows whose sums are held in registers at once.
const TILE: usize = 6;

/// Added to each signed byte of x, modulo 256, to make it unsigned; in all bytes of a word.
const OFFSET: u32 = 0x8080_8080;

/// Words of a block.
const DEPTH: usize = BLOCK / WORD;

/// Returns the multiplication by VNNI, if this processor has it.
pub fn detect() -> Option<MultiplyWords> {
    // SAFETY: the function is handed out only where the processor has AVX-512 F and VNNI.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(multiply)
}

/// Multiplies up to [`ROWS`] rows by a panel, block by block, so that a block of both stays in the first-level cache.
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
    let (stride, integers) = (row_words(k), words(k));
    let rows = x.len() / stride;
    sums[..rows * PANEL].fill(0.0);
    let (values, scales) = panel.split_at(integers * PANEL);
    for (block, (values, scales)) in values.chunks(DEPTH * PANEL).zip(scales.chunks_exact(PANEL)).enumerate() {
        // The sums start at -128 · Σ w, which cancels the offset of x.
        let mut start = [_mm512_setzero_si512(); VECTORS];
        for values in values.chunks_exact(PANEL) {
            for (i, start) in start.iter_mut().enumerate() {
                // SAFETY: a row of a panel has as many vectors.
                *start = _mm512_dpbusd_epi32(*start, _mm512_set1_epi32(OFFSET as i32), unsafe { vector(values.as_ptr(), i) });
            }
        }
        let start = start.map(|sums| _mm512_sub_epi32(_mm512_setzero_si512(), sums));
        let part = Part { first: block * DEPTH, scale: integers + block, values, scales, start };
        let mut tiles = sums[..rows * PANEL].chunks_exact_mut(TILE * PANEL);
        let mut x = x.chunks(TILE * stride);
        for (sums, x) in (&mut tiles).zip(&mut x) {
            multiply_tile::<TILE>(x, stride, &part, sums);
        }
        let (sums, x) = (tiles.into_remainder(), x.next().unwrap_or_default());
        match sums.len() / PANEL {
            1 => multiply_tile::<1>(x, stride, &part, sums),
            2 => multiply_tile::<2>(x, stride, &part, sums),
            3 => multiply_tile::<3>(x, stride, &part, sums),
            4 => multiply_tile::<4>(x, stride, &part, sums),
            5 => multiply_tile::<5>(x, stride, &part, sums),
            _ => {}
        }
    }
}

/// A block of a panel.
struct Part<'a> {
    /// The block's first word in a row of x.
    first: usize,
    /// Place of the block's scale in a row of x.
    scale: usize,
    /// Integers of the panel.
    values: &'a [u32],
    /// Scales of the panel's columns.
    scales: &'a [u32],
    /// Initial integer sums.
    start: [__m512i; VECTORS],
}

/// Adds a block's products for `R` rows to `sums`. The sums stay in registers only if loops have constant bounds and no exit.
#[allow(clippy::needless_range_loop)]
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply_tile<const R: usize>(x: &[u32], stride: usize, part: &Part<'_>, sums: &mut [f32]) {
    let depth = part.values.len() / PANEL;
    assert!(part.first + depth <= stride && part.scale < stride && R * stride <= x.len() && R * PANEL <= sums.len() && part.scales.len() == PANEL);
    let mut totals = [part.start; R];
    let offset = _mm512_set1_epi32(OFFSET as i32);
    for i in 0..depth {
        // SAFETY: the panel has `depth` rows of vectors, and each of the `R` rows of x as many words from `first`.
        let (w, x) = unsafe { (part.values.as_ptr().add(i * PANEL), x.as_ptr().add(part.first + i)) };
        let w: [__m512i; VECTORS] = unsafe { [vector(w, 0), vector(w, 1), vector(w, 2), vector(w, 3)] };
        for row in 0..R {
            let x = _mm512_xor_si512(_mm512_set1_epi32(unsafe { *x.add(row * stride) } as i32), offset);
            for i in 0..VECTORS {
                totals[row][i] = _mm512_dpbusd_epi32(totals[row][i], x, w[i]);
            }
        }
    }
    for row in 0..R {
        // SAFETY: rows of x have a scale at this place, the panel a vector of scales for each vector of sums, and `sums` R rows of them.
        unsafe {
            let scale = _mm512_set1_ps(f32::from_bits(*x.as_ptr().add(row * stride + part.scale)));
            for i in 0..VECTORS {
                let sums = sums.as_mut_ptr().add(row * PANEL + i * LANES);
                let scale = _mm512_mul_ps(scale, _mm512_castsi512_ps(vector(part.scales.as_ptr(), i)));
                _mm512_storeu_ps(sums, _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[row][i]), scale, _mm512_loadu_ps(sums)));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::capabilities::Precision;
    use crate::data::int8;
    use crate::data::panels::Packed;
    use crate::execution::cpu::product::{Target, product_in_panels, product_of_words};

    /// Other processors multiply the values that the integers stand for, which no other test does where there is VNNI.
    #[test]
    fn integers_and_their_values_have_the_same_products() {
        let Some(multiply) = detect() else {
            println!("SKIPPED: the processor has no VNNI");
            return;
        };
        for [m, n, k] in [[1, 1, 1], [7, 70, 33], [ROWS + 5, 64, 96], [3, 130, 31]] {
            let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.0 - 1.0;
            let x: Vec<f32> = (0..m * k).map(value).collect();
            let w: Vec<f32> = (0..n * k).map(|i| value(i + 5)).collect();
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
            let apart = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
            // Some roundings of each of the sums, which are at most K.
            assert!(apart <= 4.0 * f32::EPSILON * k as f32, "{m} x {n} x {k}: {apart}");
        }
    }
}
