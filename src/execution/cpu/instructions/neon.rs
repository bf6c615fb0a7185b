//! Arm's dot products: `sdot` adds four products of signed bytes to each of four sums, `bfdot` two products of bf16. In assembly, because Rust's
//! intrinsics for them are unstable.

use super::bf16::Bf16;
use super::int8::Int8;
use super::{Vector, bf16, int8};
use crate::data::bf16::words;
use crate::execution::cpu::product::MultiplyWords;
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Adds the products of two vectors of `$lanes` to four sums, by an instruction of `$extension`.
macro_rules! add_product {
    ($extension:literal, $instruction:literal, $lanes:literal, $sums:ident, $x:ident, $w:ident) => {
        asm!(
            concat!(".arch_extension ", $extension),
            concat!($instruction, " {sums:v}.4s, {x:v}.", $lanes, ", {w:v}.", $lanes),
            sums = inlateout(vreg) $sums,
            x = in(vreg) $x,
            w = in(vreg) $w,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}
pub(super) use add_product;

/// Returns the multiplication of 8-bit integers, if this processor has dot products.
pub fn detect_int8() -> Option<MultiplyWords> {
    // SAFETY: the function is handed out only where the processor has the instruction.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { int8::multiply::<Neon, 4>(x, panel, k, sums) };
    is_aarch64_feature_detected!("dotprod").then_some(multiply)
}

/// Returns the multiplication of bf16, if this processor has it.
pub fn detect_bf16() -> Option<MultiplyWords> {
    // SAFETY: the function is handed out only where the processor has the instruction.
    let multiply: MultiplyWords = |x, panel, k, sums| unsafe { bf16::multiply::<Neon, 4>(x, panel, words(k), sums) };
    is_aarch64_feature_detected!("bf16").then_some(multiply)
}

pub(super) struct Neon;

impl Vector for Neon {
    const LANES: usize = 4;
    type Words = uint32x4_t;

    #[inline(always)]
    unsafe fn load(words: *const u32) -> uint32x4_t {
        unsafe { vld1q_u32(words) }
    }

    #[inline(always)]
    unsafe fn broadcast(word: u32) -> uint32x4_t {
        unsafe { vdupq_n_u32(word) }
    }
}

impl Int8 for Neon {
    const OFFSET: u32 = 0;
    type Sums = int32x4_t;

    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, x: uint32x4_t, w: uint32x4_t) -> int32x4_t {
        unsafe {
            add_product!("dotprod", "sdot", "16b", sums, x, w);
        }
        sums
    }

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn negative(sums: int32x4_t) -> int32x4_t {
        unsafe { vnegq_s32(sums) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: int32x4_t, scale: f32, scales: *const u32, to: *mut f32) {
        unsafe {
            let scale = vmulq_n_f32(vld1q_f32(scales.cast()), scale);
            vst1q_f32(to, vfmaq_f32(vld1q_f32(to), vcvtq_f32_s32(sums), scale));
        }
    }
}

impl Bf16 for Neon {
    type Sums = float32x4_t;

    #[inline(always)]
    unsafe fn dot(mut sums: float32x4_t, x: uint32x4_t, w: uint32x4_t) -> float32x4_t {
        unsafe {
            add_product!("bf16", "bfdot", "8h", sums, x, w);
        }
        sums
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: float32x4_t, to: *mut f32) {
        unsafe { vst1q_f32(to, sums) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdot_multiplies_integers() {
        detect_int8().map_or_else(|| println!("SKIPPED: the processor has no dot products"), int8::tests::check);
    }

    #[test]
    fn bfdot_multiplies_bf16() {
        detect_bf16().map_or_else(|| println!("SKIPPED: the processor has no bf16"), bf16::tests::check);
    }
}
