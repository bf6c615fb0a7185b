//! Packed copies of rows, made by the twin that computes the rows.

use super::parallel::Disjoint;
use super::vectors::vectorised;
use crate::data::capabilities::Precision;
use crate::data::record::PackedCopy;
use crate::data::{bf16, int8};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows `[M, K]` in bf16 or int8.
pub struct PackedRows<'a> {
    precision: Precision,
    /// K.
    width: usize,
    words: Disjoint<'a>,
    is_promised: AtomicBool,
}

impl<'a> PackedRows<'a> {
    /// `words` are those of all rows, as bits.
    pub fn new(precision: Precision, width: usize, words: &'a mut [f32]) -> PackedRows<'a> {
        PackedRows { precision, width, words: Disjoint::new(words), is_promised: AtomicBool::new(false) }
    }

    /// Returns whether the rows were packed.
    pub fn is_promised(&self) -> bool {
        self.is_promised.load(Ordering::Relaxed)
    }
}

impl PackedCopy for PackedRows<'_> {
    fn promise(&self, columns: usize) -> bool {
        let unit = if self.precision == Precision::Bf16 { bf16::WORD } else { int8::BLOCK };
        let suits = columns.is_multiple_of(unit) || columns >= self.width;
        self.is_promised.fetch_or(suits, Ordering::Relaxed);
        suits
    }

    unsafe fn pack(&self, row: usize, first: usize, values: &[f32]) {
        // SAFETY: stretches of rows have words of their own, because they begin at whole words or blocks; the caller guarantees that no other thread packs
        // this one.
        let words = |start, count| bytemuck::cast_slice_mut(unsafe { self.words.stretch(start, count) });
        if self.precision == Precision::Bf16 {
            let start = row * bf16::words(self.width) + first / bf16::WORD;
            round(values, words(start, bf16::words(values.len())));
        } else {
            let start = row * int8::row_words(self.width);
            let scales = start + int8::words(self.width) + first / int8::BLOCK;
            let count = values.len().div_ceil(int8::BLOCK);
            quantise(values, words(start + first / int8::WORD, int8::words(values.len())), words(scales, count));
        }
    }
}

vectorised! {
    fn round<'a>(values: &'a [f32], words: &'a mut [u32]) -> () {
        bf16::round(values, words);
    }
}

vectorised! {
    fn quantise<'a>(values: &'a [f32], words: &'a mut [u32], scales: &'a mut [u32]) -> () {
        int8::quantise_blocks(values, words, scales);
    }
}
