//! Packed copies of rows, made by the twin that computes the rows.

use super::instructions;
use super::parallel::{Disjoint, for_each_chunk, with_workspace};
use super::vectors::vectorised;
use crate::data::capabilities::Precision;
use crate::data::record::PackedCopy;
use crate::data::{bf16, int8};
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls `work` with the index of each row and the `width` values to fill, and packs them. Rows that nothing else reads are filled in a workspace.
pub fn for_each_row(rows: &mut [f32], width: usize, packed: Option<&dyn PackedCopy>, work: impl Fn(usize, &mut [f32]) + Sync) {
    let packed = packed.filter(|packed| packed.promise(width));
    for_each_chunk(rows, width, |row, values| {
        let fill = |values: &mut [f32]| {
            work(row, values);
            // SAFETY: a task is a row.
            packed.inspect(|packed| unsafe { packed.pack(row, 0, values) });
        };
        if packed.is_some_and(PackedCopy::replaces_rows) { with_workspace(width, fill) } else { fill(values) }
    });
}

/// Rows `[M, K]` in bf16 or int8.
pub struct PackedRows<'a> {
    precision: Precision,
    replaces_rows: bool,
    /// K.
    width: usize,
    words: Disjoint<'a>,
    is_promised: AtomicBool,
}

impl<'a> PackedRows<'a> {
    /// `words` are those of all rows, as bits.
    pub fn new(precision: Precision, replaces_rows: bool, width: usize, words: &'a mut [f32]) -> PackedRows<'a> {
        PackedRows { precision, replaces_rows, width, words: Disjoint::new(words), is_promised: AtomicBool::new(false) }
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

    fn replaces_rows(&self) -> bool {
        self.replaces_rows
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
            let quantise = instructions::for_quantising().unwrap_or(quantise);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_make_the_same_rows_as_whole_rows() {
        for width in [1, 31, 64, 70, 193] {
            let values: Vec<f32> = (0..3 * width).map(|i| ((i * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
            for (precision, row_words) in [(Precision::Bf16, bf16::words(width)), (Precision::Int8, int8::row_words(width))] {
                let encode = if precision == Precision::Bf16 { bf16::round } else { int8::quantise };
                let mut want = vec![0; 3 * row_words];
                want.chunks_mut(row_words).zip(values.chunks(width)).for_each(|(row, values)| encode(values, row));
                for columns in [32, 64, width] {
                    let mut words = vec![f32::NAN; 3 * row_words];
                    let rows = PackedRows::new(precision, false, width, &mut words);
                    assert!(rows.promise(columns) && rows.is_promised());
                    for (row, values) in values.chunks(width).enumerate() {
                        for (i, stretch) in values.chunks(columns).enumerate() {
                            // SAFETY: this is the only thread.
                            unsafe { rows.pack(row, i * columns, stretch) };
                        }
                    }
                    assert_eq!(bytemuck::cast_slice::<f32, u32>(&words), want, "{precision}, {width} in stretches of {columns}");
                }
            }
        }
    }

    #[test]
    fn stretches_that_share_a_scale_are_declined() {
        let mut words = [0.0; 27];
        let rows = PackedRows::new(Precision::Int8, false, 96, &mut words);
        assert!(!rows.promise(48) && !rows.is_promised());
    }
}
