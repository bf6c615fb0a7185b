//! Panels: the memory layout of the rhs of matrix products, the same on every device.

use crate::data::aligned::Aligned;
use crate::data::capabilities::Precision;
use crate::data::{bf16 as pairs, int8, int16};
use half::{bf16, f16};

/// Columns per panel.
pub const PANEL: usize = 64;

/// Columns of a strip of a panel.
pub const STRIP: usize = 16;

/// Panel rows filled at a time: one cache line of each source column.
const LINE: usize = 16;

/// Returns the shape of a rhs w `[N, K]` in panels of 64 columns of wᵀ, zero-padded after the last column:
/// `[ceil(N / 64), K, 64]`. For bf16, a row of words packs two rows: `[ceil(N / 64), ceil(K / 2), 64]`. For int8, it packs four, and the last rows hold
/// the scales of blocks of 32 rows, one per column: `[ceil(N / 64), ceil(K / 4) + ceil(K / 32), 64]`.
pub fn shape([n, k]: [usize; 2], precision: Precision) -> [usize; 3] {
    let rows = match precision {
        Precision::F32 | Precision::F16 => k,
        Precision::Bf16 => pairs::words(k),
        Precision::Int8 => int8::row_words(k),
    };
    [n.div_ceil(PANEL), rows, PANEL]
}

/// An owned rhs in panels.
#[derive(Debug)]
pub enum Packed {
    /// 32-bit floats.
    F32(Aligned<f32>),
    /// 32-bit floats in strips of 16 columns, `[ceil(N / 64), 4, K, 16]`, which the first-level cache holds: a panel's rows share few of its sets.
    Strips(Aligned<f32>),
    /// IEEE 754 binary16.
    F16(Aligned<f16>),
    /// Upper 16 bits of f32.
    Bf16(Aligned<bf16>),
    /// Upper 16 bits of f32, two per word.
    Bf16Pairs(Aligned<u32>),
    /// 8-bit integers, four per word, with scales of blocks of 32 rows.
    Int8(Aligned<u32>),
    /// 16-bit integers, two per word, with scales of blocks of 32 rows: what takes the place of f16 on processors that multiply them.
    Int16 {
        /// The words, and scales as bits.
        words: Aligned<u32>,
        /// K.
        depth: usize,
    },
}

impl Packed {
    /// Packs w `[N, K]` in the given precision. Values beyond the range of f16 are clamped, so they stay finite.
    pub fn new(w: &[f32], sizes: [usize; 2], precision: Precision) -> Packed {
        match precision {
            Precision::F32 => Packed::F32(pack(w, sizes, PANEL, |value| value)),
            Precision::F16 => Packed::F16(pack(w, sizes, PANEL, |value| f16::from_f32(clamped(value)))),
            Precision::Bf16 => Packed::Bf16Pairs(pack_words(w, sizes, pairs::words, pairs::round)),
            Precision::Int8 => Packed::Int8(pack_words(w, sizes, int8::row_words, int8::quantise)),
        }
    }

    /// Packs w `[N, K]` in strips.
    pub fn strips(w: &[f32], sizes: [usize; 2]) -> Packed {
        Packed::Strips(pack(w, sizes, STRIP, |value| value))
    }

    /// Packs w `[N, K]` as bf16.
    pub fn bf16(w: &[f32], sizes: [usize; 2]) -> Packed {
        Packed::Bf16(pack(w, sizes, PANEL, bf16::from_f32))
    }

    /// Packs w `[N, K]` as 16-bit integers, which are off by at most 1 in 16382 of the largest value of a block. Values beyond the range of f16 are clamped.
    pub fn int16(w: &[f32], sizes: [usize; 2]) -> Packed {
        let encode = |values: &[f32], words: &mut [u32]| {
            let values: Vec<f32> = values.iter().map(|value| clamped(*value)).collect();
            int16::quantise(&values, words);
        };
        Packed::Int16 { words: pack_words(w, sizes, int16::row_words, encode), depth: sizes[1] }
    }

    /// Borrows the panels, as CPU twins read them.
    pub fn panels(&self) -> Panels<'_> {
        match self {
            Packed::F32(values) => Panels::F32(values),
            Packed::Strips(values) => Panels::Strips(values),
            Packed::F16(values) => Panels::F16(values),
            Packed::Bf16(values) => Panels::Bf16(values),
            Packed::Bf16Pairs(words) => Panels::Bf16Pairs(words),
            Packed::Int8(words) => Panels::Int8(words),
            Packed::Int16 { words, depth } => Panels::Int16 { words, depth: *depth },
        }
    }

    /// Returns the number of elements, padding included; of 16-bit integers, that of the values that they stand for.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self {
            Packed::F32(values) | Packed::Strips(values) => values.len(),
            Packed::F16(values) => values.len(),
            Packed::Bf16(values) => values.len(),
            Packed::Bf16Pairs(words) | Packed::Int8(words) => words.len(),
            Packed::Int16 { words, depth } => words.len() / int16::row_words(*depth) * depth,
        }
    }

    /// Returns the bytes, as a GPU reads them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Packed::F32(values) | Packed::Strips(values) => bytemuck::cast_slice(values),
            Packed::F16(values) => bytemuck::cast_slice(values),
            Packed::Bf16(values) => bytemuck::cast_slice(values),
            Packed::Bf16Pairs(words) | Packed::Int8(words) | Packed::Int16 { words, .. } => bytemuck::cast_slice(words),
        }
    }
}

/// Packs w `[N, K]` in strips of some columns, which divide a panel.
fn pack<V: Copy + Default + Send + Sync>(w: &[f32], [n, k]: [usize; 2], columns: usize, narrow: impl Fn(f32) -> V + Sync) -> Aligned<V> {
    let mut panels = Aligned::zeros(n.next_multiple_of(PANEL) * k);
    for_each_strip(&mut panels, columns * k, |number, strip| {
        let [first, end] = [number, number + 1].map(|number| n.min(number * columns) * k);
        for (block, rows) in strip.chunks_mut(LINE * columns).enumerate() {
            for (column, values) in w[first..end].chunks(k).enumerate() {
                for (row, value) in rows.chunks_mut(columns).zip(&values[block * LINE..]) {
                    row[column] = narrow(*value);
                }
            }
        }
    });
    panels
}

/// Returns the value, or the nearest that f16 can represent, if it is beyond its range.
fn clamped(value: f32) -> f32 {
    let largest = f16::MAX.to_f32();
    value.clamp(-largest, largest)
}

/// Packs columns of K values that `encode` turns into words, as many as `row_words` returns.
fn pack_words(w: &[f32], [n, k]: [usize; 2], row_words: fn(usize) -> usize, encode: impl Fn(&[f32], &mut [u32]) + Sync) -> Aligned<u32> {
    let rows = row_words(k);
    let mut panels = Aligned::zeros(n.div_ceil(PANEL) * rows * PANEL);
    for_each_strip(&mut panels, rows * PANEL, |number, panel| {
        let columns = &w[number * PANEL * k..n.min((number + 1) * PANEL) * k];
        let mut words = vec![0; rows];
        for (column, values) in columns.chunks(k).enumerate() {
            encode(values, &mut words);
            for (row, word) in panel.chunks_mut(PANEL).zip(&words) {
                row[column] = *word;
            }
        }
    });
    panels
}

/// Warns of values that [`Packed::new`] clamps.
pub fn warn_if_clamped(name: &str, values: &[f32], precision: Precision) {
    if precision == Precision::F16 {
        let largest = f16::MAX.to_f32();
        let clamped = values.iter().filter(|value| value.abs() > largest).count();
        if clamped > 0 {
            log::warn!("{name}: {clamped} of {} values are beyond the range of f16 and become {largest} or -{largest}; f32 keeps them", values.len());
        }
    }
}

/// Converts to f16 bytes for a GPU buffer, zero-padded to whole words. Values beyond the range of f16 are clamped.
pub fn halves(values: &[f32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(clamped(*value)).to_le_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn for_each_strip<V: Send>(panels: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    use rayon::prelude::*;
    panels.par_chunks_mut(len).enumerate().for_each(|(number, panel)| work(number, panel));
}

/// A borrowed rhs in panels; see [`Packed`].
#[derive(Clone, Copy, Debug)]
pub enum Panels<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 32-bit floats in strips of 16 columns.
    Strips(&'a [f32]),
    /// IEEE 754 binary16.
    F16(&'a [f16]),
    /// Upper 16 bits of f32.
    Bf16(&'a [bf16]),
    /// Upper 16 bits of f32, two per word.
    Bf16Pairs(&'a [u32]),
    /// 8-bit integers, four per word, with scales of blocks of 32 rows.
    Int8(&'a [u32]),
    /// 16-bit integers, two per word, with scales of blocks of 32 rows.
    Int16 {
        /// The words, and scales as bits.
        words: &'a [u32],
        /// K.
        depth: usize,
    },
}

impl<'a> Panels<'a> {
    /// Returns the rows of a panel of depth `k`, of elements as [`Packed::len`] counts them.
    pub fn rows(self, k: usize) -> usize {
        match self {
            Panels::F32(_) | Panels::Strips(_) | Panels::F16(_) | Panels::Bf16(_) | Panels::Int16 { .. } => k,
            Panels::Bf16Pairs(_) => pairs::words(k),
            Panels::Int8(_) => int8::row_words(k),
        }
    }

    /// Returns the number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            Panels::F32(values) | Panels::Strips(values) => size_of_val(values),
            Panels::F16(values) => size_of_val(values),
            Panels::Bf16(values) => size_of_val(values),
            Panels::Bf16Pairs(words) | Panels::Int8(words) | Panels::Int16 { words, .. } => size_of_val(words),
        }
    }

    /// Returns `len` elements starting at `offset`: whole panels.
    pub fn part(self, offset: usize, len: usize) -> Panels<'a> {
        match self {
            Panels::F32(values) => Panels::F32(&values[offset..][..len]),
            Panels::Strips(values) => Panels::Strips(&values[offset..][..len]),
            Panels::F16(values) => Panels::F16(&values[offset..][..len]),
            Panels::Bf16(values) => Panels::Bf16(&values[offset..][..len]),
            Panels::Bf16Pairs(words) => Panels::Bf16Pairs(&words[offset..][..len]),
            Panels::Int8(words) => Panels::Int8(&words[offset..][..len]),
            Panels::Int16 { words, depth } => {
                let [offset, len] = [offset, len].map(|elements| elements / depth * int16::row_words(depth));
                Panels::Int16 { words: &words[offset..][..len], depth }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_every_element_padded_with_zeros() {
        for (n, k) in [(70, 3), (64, 16), (1, 1), (130, 45)] {
            let w: Vec<f32> = (1..=n * k).map(|value| value as f32).collect();
            for columns in [PANEL, STRIP] {
                let panels = pack(&w, [n, k], columns, |value| value);
                assert_eq!(panels.len(), shape([n, k], Precision::F32).iter().product::<usize>());
                for (i, value) in panels.iter().enumerate() {
                    let (row, column) = (i / columns % k, i / (k * columns) * columns + i % columns);
                    assert_eq!(*value, if column < n { w[column * k + row] } else { 0.0 });
                }
            }
        }
    }

    #[test]
    fn int8_panels_dequantise_within_half_a_step() {
        let (n, k) = (70, 42);
        let w: Vec<f32> = (0..n * k).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
        let [count, rows, _] = shape([n, k], Precision::Int8);
        let Packed::Int8(words) = Packed::new(&w, [n, k], Precision::Int8) else { panic!("int8") };
        assert_eq!((words.len(), rows), (count * rows * PANEL, 11 + 2));
        for column in 0..n {
            let at = |row: usize| words[(column / PANEL * rows + row) * PANEL + column % PANEL];
            for row in 0..k {
                let scale = f32::from_bits(at(11 + row / int8::BLOCK));
                let value = int8::integers(at(row / 4))[row % 4] * scale;
                assert!((value - w[column * k + row]).abs() <= 0.5001 * scale);
            }
        }
    }

    #[test]
    fn f16_packing_saturates_out_of_range_values() {
        let Packed::F16(values) = Packed::new(&[1e9, -1e9], [1, 2], Precision::F16) else { panic!("f16") };
        assert_eq!([values[0], values[64]], [f16::MAX, f16::MIN]);
    }
}
