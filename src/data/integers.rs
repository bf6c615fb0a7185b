//! Rows of integers with a scale for each block of 32. Integers are packed into words, the first in the lowest bits.
//!
//! A quantised row consists of the words of its values, then the scale of each block.

/// 1.5 · 2^23. Added to a small number, it leaves the nearest integer, ties to even, in the low bits of the significand.
pub const ROUND: f32 = 12_582_912.0;

/// Adjacent values that share a scale.
pub const BLOCK: usize = 32;

/// Defines the functions of rows of such integers, whose magnitude is at most `$largest`.
macro_rules! rows_of_integers {
    ($integer:ty, $largest:literal) => {
        pub use $crate::data::integers::BLOCK;

        /// Largest magnitude.
        pub const LARGEST: f32 = $largest;

        /// Integers per word.
        pub const WORD: usize = size_of::<u32>() / size_of::<$integer>();

        /// Returns the words of `count` values, without their scales.
        pub fn words(count: usize) -> usize {
            count.div_ceil(WORD)
        }

        /// Returns the words of a quantised row of `count` values, scales included.
        pub fn row_words(count: usize) -> usize {
            words(count) + count.div_ceil(BLOCK)
        }

        /// Quantises a row to the nearest integers, ties to even. Integers without a value become zero. A block's scale is max |x| / [`LARGEST`], by which
        /// its integers are multiplied to restore the values; it is not finite if one of them is not.
        #[inline(always)]
        pub fn quantise(values: &[f32], row: &mut [u32]) {
            let (words, scales) = row.split_at_mut(words(values.len()));
            quantise_blocks(values, words, scales);
        }

        /// Quantises blocks of a row as [`quantise`] does, into their words and their scales.
        #[inline(always)]
        pub fn quantise_blocks(values: &[f32], words: &mut [u32], scales: &mut [u32]) {
            let integers: &mut [$integer] = bytemuck::cast_slice_mut(words);
            for ((values, integers), kept) in values.chunks(BLOCK).zip(integers.chunks_mut(BLOCK)).zip(scales) {
                // As bits, magnitudes have the same order, with NaN last; and the compiler vectorises a maximum of integers.
                let largest = f32::from_bits(values.iter().fold(0, |largest: u32, value| largest.max(value.abs().to_bits())));
                let scale = largest / LARGEST;
                *kept = scale.to_bits();
                let factor = if scale > 0.0 { scale.recip() } else { 0.0 };
                let (whole, padding) = integers.split_at_mut(values.len());
                let rounded = |value: &f32| (value * factor + $crate::data::integers::ROUND).to_bits() as $integer;
                whole.iter_mut().zip(values).for_each(|(integer, value)| *integer = rounded(value));
                padding.fill(0);
            }
        }

        /// Returns the integers of a word as floats, without the scale.
        pub fn integers(word: u32) -> [f32; WORD] {
            bytemuck::cast::<u32, [$integer; WORD]>(word).map(f32::from)
        }
    };
}
pub(super) use rows_of_integers;
