//! AVX-512: VNNI's `vpdpbusd` adds four products of unsigned and signed bytes to each of sixteen sums, and BF16's `vdpbf16ps` two products of bf16.

use super::bf16::Bf16;
use super::int8::Int8;
use super::{Vector, bf16, int8};
use crate::data::bf16::words;
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
    fn avx512_multiplies_bf16() {
        detect_bf16().map_or_else(|| println!("SKIPPED: the processor has no AVX-512 BF16"), bf16::tests::check);
    }
}
