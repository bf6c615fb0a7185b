//! AVX-512: VNNI's `vpdpbusd` adds four products of unsigned and signed bytes to each of sixteen sums, its `vpdpwssd` two products of 16-bit integers, and
//! BF16's `vdpbf16ps` two products of bf16.

use super::bf16::Bf16;
use super::int8::Int8;
use super::int16::Int16;
use super::{MultiplyPairs, Quantise, Vector, bf16, int8, int16};
use crate::data::bf16::words;
use crate::data::int8::{BLOCK, LARGEST, WORD, quantise_blocks};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::{MultiplyWords, ROWS};
use std::arch::x86_64::*;
use std::mem::transmute;

/// Returns the multiplication of 8-bit integers, if this processor has AVX-512 VNNI.
pub fn detect_int8() -> Option<MultiplyWords> {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
        // SAFETY: this function's features.
        unsafe { int8::multiply::<Avx512, 4>(x, panel, k, sums) }
    }
    // SAFETY: the function is handed out only where the processor has its features.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(multiply)
}

/// Returns the multiplication of bf16, if this processor has AVX-512 BF16.
pub fn detect_bf16() -> Option<MultiplyWords> {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
        // SAFETY: this function's features.
        unsafe { bf16::multiply::<Avx512, 4>(x, panel, words(k), sums) }
    }
    // SAFETY: the function is handed out only where the processor has its features.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")).then_some(multiply)
}

/// Returns the multiplication of 16-bit integers, if this processor has AVX-512 VNNI.
pub fn detect_int16() -> Option<MultiplyPairs> {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply(x: &[u32], panel: &[u32], words: usize, depth: usize, columns: usize, sums: &mut [f32], stride: usize) {
        // SAFETY: this function's features.
        unsafe { int16::multiply::<Avx512>(x, panel, words, depth, columns, sums, stride) }
    }
    // SAFETY: the function is handed out only where the processor has its features.
    let multiply: MultiplyPairs = |x, panel, words, depth, columns, sums, stride| unsafe { multiply(x, panel, words, depth, columns, sums, stride) };
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(multiply)
}

/// Returns the quantisation to 8-bit integers, if this processor has AVX-512. Compilers take twice as long for its maxima and bytes.
pub fn detect_quantisation() -> Option<Quantise> {
    #[target_feature(enable = "avx512f")]
    fn quantise(values: &[f32], words: &mut [u32], scales: &mut [u32]) {
        let (blocks, rest) = values.as_chunks::<BLOCK>();
        let (whole, rest_words) = words.split_at_mut(blocks.len() * BLOCK / WORD);
        for ((values, words), scale) in blocks.iter().zip(whole.as_chunks_mut::<{ BLOCK / WORD }>().0).zip(scales.iter_mut()) {
            *scale = quantise_block(values, words).to_bits();
        }
        quantise_blocks(rest, rest_words, &mut scales[blocks.len()..]);
    }
    // SAFETY: the function is handed out only where the processor has its features.
    let quantise: Quantise = |values, words, scales| unsafe { quantise(values, words, scales) };
    is_x86_feature_detected!("avx512f").then_some(quantise)
}

/// Quantises a block and returns its scale.
#[target_feature(enable = "avx512f")]
fn quantise_block(values: &[f32; BLOCK], words: &mut [u32; BLOCK / WORD]) -> f32 {
    let magnitude = |values| _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(i32::MAX));
    // SAFETY: a block is two vectors of values, or two quarters of a vector of words.
    let halves = unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(BLOCK / 2))] };
    // As bits, magnitudes have the same order, with NaN last.
    let largest = f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(magnitude(halves[0]), magnitude(halves[1]))));
    let scale = largest / LARGEST;
    let factor = _mm512_set1_ps(if scale > 0.0 { scale.recip() } else { 0.0 });
    for (half, words) in halves.into_iter().zip(words.chunks_mut(BLOCK / WORD / 2)) {
        let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(half, factor)));
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), bytes) };
    }
    scale
}

struct Avx512;

impl Vector for Avx512 {
    const LANES: usize = 16;
    type Words = __m512i;

    #[inline(always)]
    unsafe fn load(words: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(words.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(word: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(word as i32) }
    }
}

impl Int8 for Avx512 {
    const OFFSET: u32 = 0x8080_8080;
    type Sums = __m512i;

    #[inline(always)]
    unsafe fn dot(sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, x, w) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn negative(sums: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(_mm512_setzero_si512(), sums) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: __m512i, scale: f32, scales: *const u32, to: *mut f32) {
        unsafe {
            let scale = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_castsi512_ps(Avx512::load(scales)));
            _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scale, _mm512_loadu_ps(to)));
        }
    }
}

impl Int16 for Avx512 {
    const ACROSS: usize = 4;

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(sums, x, w) }
    }
}

impl Bf16 for Avx512 {
    type Sums = __m512;

    #[inline(always)]
    unsafe fn dot(sums: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: both types of words are 64 bytes without invalid values.
        unsafe { _mm512_dpbf16_ps(sums, transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w)) }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m512, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, sums) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avx512_multiplies_integers() {
        detect_int8().map_or_else(|| println!("SKIPPED: the processor has no AVX-512 VNNI"), int8::tests::check);
    }

    #[test]
    fn avx512_multiplies_pairs_of_integers() {
        detect_int16().map_or_else(|| println!("SKIPPED: the processor has no AVX-512 VNNI"), int16::tests::check);
    }

    #[test]
    fn avx512_multiplies_bf16() {
        detect_bf16().map_or_else(|| println!("SKIPPED: the processor has no AVX-512 BF16"), bf16::tests::check);
    }
}
