//! AVX-VNNI, which processors without AVX-512 have: `vpdpbusd` for eight sums.

use super::int8::Int8;
use super::{Vector, int8};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::{MultiplyWords, ROWS};
use std::arch::x86_64::*;

/// Returns the multiplication of 8-bit integers, if this processor has AVX-VNNI.
pub fn detect_int8() -> Option<MultiplyWords> {
    #[target_feature(enable = "avx2,fma,avxvnni")]
    fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
        // SAFETY: this function's features.
        unsafe { int8::multiply::<Avx, 2>(x, panel, k, sums) }
    }
    // SAFETY: the function is handed out only where the processor has its features.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("avxvnni")).then_some(multiply)
}

struct Avx;

impl Vector for Avx {
    const LANES: usize = 8;
    type Words = __m256i;

    #[inline(always)]
    unsafe fn load(words: *const u32) -> __m256i {
        unsafe { _mm256_loadu_si256(words.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(word: u32) -> __m256i {
        unsafe { _mm256_set1_epi32(word as i32) }
    }
}

impl Int8 for Avx {
    const OFFSET: u32 = 0x8080_8080;
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn dot(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(sums, x, w) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn negative(sums: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi32(_mm256_setzero_si256(), sums) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: __m256i, scale: f32, scales: *const u32, to: *mut f32) {
        unsafe {
            let scale = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_castsi256_ps(Avx::load(scales)));
            _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, _mm256_loadu_ps(to)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avx_multiplies_integers() {
        detect_int8().map_or_else(|| println!("SKIPPED: the processor has no AVX-VNNI"), int8::tests::check);
    }
}
