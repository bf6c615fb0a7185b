//! AVX2, with or without AVX-VNNI: `vpdpbusd` and `vpdpwssd` for eight sums, or `vpmaddubsw` and `vpmaddwd`; `vfmadd231ps` for f32.

use super::float::Float;
use super::int8::Int8;
use super::int16::Int16;
use super::{MultiplyFloats, MultiplyPairs, Vector, float, int8, int16};
use crate::data::panels::PANEL;
use crate::execution::cpu::product::{MultiplyWords, ROWS};
use std::arch::x86_64::*;

/// With the dot products of AVX-VNNI, or without.
pub struct Avx<const VNNI: bool>;

macro_rules! detection {
    ($vnni:literal, [$($feature:tt),*]) => {
        impl Avx<$vnni> {
            /// Returns the multiplication of 8-bit integers, if this processor has the instructions.
            pub fn detect_int8() -> Option<MultiplyWords> {
                #[target_feature($(enable = $feature),*)]
                fn multiply(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
                    // SAFETY: this function's features.
                    unsafe { int8::multiply::<Avx<$vnni>, 2>(x, panel, k, sums) }
                }
                // SAFETY: the function is handed out only where the processor has its features.
                let multiply: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
                ($(is_x86_feature_detected!($feature))&&*).then_some(multiply)
            }

            /// Returns the multiplication of 16-bit integers, if this processor has the instructions.
            pub fn detect_int16() -> Option<MultiplyPairs> {
                #[target_feature($(enable = $feature),*)]
                fn multiply(x: &[u32], panel: &[u32], words: usize, depth: usize, columns: usize, sums: &mut [f32], stride: usize) {
                    // SAFETY: this function's features.
                    unsafe { int16::multiply::<Avx<$vnni>>(x, panel, words, depth, columns, sums, stride) }
                }
                // SAFETY: the function is handed out only where the processor has its features.
                let multiply: MultiplyPairs =
                    |x, panel, words, depth, columns, sums, stride| unsafe { multiply(x, panel, words, depth, columns, sums, stride) };
                ($(is_x86_feature_detected!($feature))&&*).then_some(multiply)
            }
        }
    };
}
detection!(true, ["avx2", "fma", "avxvnni"]);
detection!(false, ["avx2", "fma"]);

impl Avx<false> {
    /// Returns the multiplication of f32, if this processor has AVX2 and no wider vectors, with which `gemm` is as fast.
    pub fn detect_f32() -> Option<MultiplyFloats> {
        (!is_x86_feature_detected!("avx512f")).then(Self::multiply_floats).flatten()
    }

    fn multiply_floats() -> Option<MultiplyFloats> {
        #[target_feature(enable = "avx2,fma")]
        fn multiply(x: &[f32], panel: &[f32], k: usize, sums: &mut [f32; ROWS * PANEL]) {
            // SAFETY: this function's features.
            unsafe { float::multiply::<Avx<false>>(x, panel, k, sums) }
        }
        // SAFETY: the function is handed out only where the processor has its features.
        let multiply: MultiplyFloats = |x, panel, k, sums| unsafe { multiply(x, panel, k, sums) };
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(multiply)
    }
}

impl<const VNNI: bool> Vector for Avx<VNNI> {
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

impl Float for Avx<false> {
    type Sums = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add_product(sums: __m256, x: __m256i, w: __m256i) -> __m256 {
        unsafe { _mm256_fmadd_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(w), sums) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, sums) }
    }

    #[inline(always)]
    unsafe fn add_to(sums: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, _mm256_add_ps(sums, _mm256_loadu_ps(to))) }
    }
}

impl<const VNNI: bool> Int8 for Avx<VNNI> {
    const OFFSET: u32 = if VNNI { 0x8080_8080 } else { 0 };
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn dot(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(sums, x, w)
            } else {
                // |x| · (w with the sign of x): two products of magnitudes up to 127 fit 16 bits, those of an offset x would not.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
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
            let scale = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_castsi256_ps(Self::load(scales)));
            _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, _mm256_loadu_ps(to)));
        }
    }
}

impl<const VNNI: bool> Int16 for Avx<VNNI> {
    const ACROSS: usize = 2;

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        unsafe { if VNNI { _mm256_dpwssd_avx_epi32(sums, x, w) } else { _mm256_add_epi32(sums, _mm256_madd_epi16(x, w)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avx_multiplies_integers() {
        Avx::<true>::detect_int8().map_or_else(|| println!("SKIPPED: the processor has no AVX-VNNI"), int8::tests::check);
        Avx::<false>::detect_int8().map_or_else(|| println!("SKIPPED: the processor has no AVX2"), int8::tests::check);
    }

    #[test]
    fn avx_multiplies_floats() {
        Avx::<false>::multiply_floats().map_or_else(|| println!("SKIPPED: the processor has no AVX2"), float::tests::check);
    }

    #[test]
    fn avx_multiplies_pairs_of_integers() {
        Avx::<true>::detect_int16().map_or_else(|| println!("SKIPPED: the processor has no AVX-VNNI"), int16::tests::check);
        Avx::<false>::detect_int16().map_or_else(|| println!("SKIPPED: the processor has no AVX2"), int16::tests::check);
    }
}
