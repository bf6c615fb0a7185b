//! Attention whose result is rounded to bf16 or 8-bit integers next, by instructions for integers of 16 bits. Its error is that of f16, or less.
//!
//! A query or key is divided by its length and multiplied by 32767, so that no sum overflows. Exponentials, and the values of a column, have a scale for each
//! block of 32 keys.

use super::attention::{Heads, scale};
use super::exponential::exp;
use super::instructions::{COLUMNS, MultiplyPairs};
use super::parallel::{Disjoint, for_each_number, threads, with_shared_workspace, with_workspace};
use super::product::ROWS;
use super::row_chunks::RowChunks;
use super::vectors::{largest, sum, vectorised};
use crate::data::int16::{BLOCK, LARGEST, WORD};
use crate::data::integers::ROUND;
use crate::data::panels::PANEL;
use crate::data::record::PackedCopy;
use std::ops::Range;

/// Length of a query or key in integers.
const LENGTH: f32 = 32767.0;

const _: () = assert!(BLOCK.is_multiple_of(COLUMNS) && PANEL.is_multiple_of(BLOCK));

/// Sizes of what is packed, in words.
struct Sizes {
    /// The integers of a query or key, which have a scale behind them.
    vector: usize,
    /// N, up to a multiple of [`COLUMNS`].
    keys: usize,
    /// A row of exponentials with the scales of its blocks.
    row: usize,
    /// The keys of a head.
    k: usize,
    /// Its values.
    v: usize,
}

impl Sizes {
    fn new(heads: &Heads<'_>) -> Sizes {
        let (vector, keys) = (heads.head.div_ceil(WORD), heads.tokens.next_multiple_of(COLUMNS));
        let row = keys / WORD + keys.div_ceil(BLOCK);
        Sizes { vector, keys, row, k: keys.div_ceil(PANEL) * (vector + 1) * PANEL, v: heads.head.div_ceil(PANEL) * row * PANEL }
    }

    fn of_head(&self) -> usize {
        self.k + self.v
    }
}

/// Computes attention to all tokens, and packs its rows.
pub(super) fn attend(heads: &Heads<'_>, packed: &dyn PackedCopy, multiply: MultiplyPairs) {
    let sizes = Sizes::new(heads);
    with_shared_workspace(heads.images * heads.heads * sizes.of_head(), |shared| {
        pack(heads, &sizes, &Disjoint::new(shared));
        let shared: &[u32] = bytemuck::cast_slice(shared);
        // A thread has images or queries of its own, whose rows it writes before and reads after.
        let (places, parts) = (heads.images * heads.heads, threads());
        let chunks = RowChunks::new(heads.queries, parts);
        for_each_number(parts * places * chunks.count(), |task| {
            let (number, chunk) = (task / chunks.count(), task % chunks.count());
            let (part, place) = if heads.images < parts { (number / places, number % places) } else { (number % parts, number / parts) };
            let rows = chunks.range(part, chunk..chunk + 1);
            let head = shared[place * sizes.of_head()..][..sizes.of_head()].split_at(sizes.k);
            if !rows.is_empty() {
                attend_from(heads, &sizes, [place / heads.heads, place % heads.heads], rows, head, packed, multiply);
            }
        });
    });
}

/// Computes and packs some rows of one head.
fn attend_from(
    heads: &Heads<'_>,
    sizes: &Sizes,
    place: [usize; 2],
    rows: Range<usize>,
    (k, v): (&[u32], &[u32]),
    packed: &dyn PackedCopy,
    multiply: MultiplyPairs,
) {
    let Sizes { vector, row, keys, .. } = *sizes;
    let parts = [ROWS * keys, ROWS * PANEL, rows.len() * (vector + 1), rows.len() * row];
    with_workspace(parts.iter().sum(), |mut workspace| {
        let [scores, sums, q, weights] = parts.map(|len| workspace.split_off_mut(..len).expect("it is as long as all parts"));
        let [q, weights] = [q, weights].map(bytemuck::cast_slice_mut::<f32, u32>);
        for (n, q) in rows.clone().zip(q.chunks_mut(vector + 1)) {
            round_vector(heads.vector(place, 0, n), heads.scale, q);
        }
        for (first, panel) in (0..keys).step_by(PANEL).zip(k.chunks((vector + 1) * PANEL)) {
            multiply(q, panel, vector, vector, PANEL.min(keys - first), &mut scores[first..], keys);
        }
        let mut totals = [0.0; ROWS];
        for ((scores, weights), total) in scores.chunks_mut(keys).zip(weights.chunks_mut(row)).zip(&mut totals) {
            scores[heads.tokens..].fill(f32::NEG_INFINITY);
            let (words, scales) = weights.split_at_mut(keys / WORD);
            *total = exponentials(scores, words, bytemuck::cast_slice_mut(scales));
        }
        for (number, panel) in v.chunks(row * PANEL).enumerate() {
            let columns = number * PANEL..heads.head.min((number + 1) * PANEL);
            multiply(weights, panel, keys / WORD, BLOCK / WORD, columns.len().next_multiple_of(COLUMNS), sums, PANEL);
            for ((n, sums), total) in rows.clone().zip(sums.chunks_mut(PANEL)).zip(totals) {
                let sums = &mut sums[..columns.len()];
                scale(sums, total.recip());
                // SAFETY: a task is one head of some queries of one image; no other task has an element in common with it.
                unsafe { packed.pack(heads.row(place, n), heads.column(place) + columns.start, sums) };
            }
        }
    });
}

/// Packs keys and values into panels, block by block; those behind the last token are 0.
fn pack(heads: &Heads<'_>, sizes: &Sizes, packed: &Disjoint<'_>) {
    let blocks = sizes.keys.div_ceil(BLOCK);
    for_each_number(heads.images * blocks, |task| {
        let (image, block) = (task / blocks, task % blocks);
        let tokens = block * BLOCK..heads.tokens.min((block + 1) * BLOCK);
        for h in 0..heads.heads {
            let (place, start) = ([image, h], (image * heads.heads + h) * sizes.of_head());
            pack_keys(heads, sizes, place, tokens.clone(), start, packed);
            for column in (0..heads.head).step_by(PANEL) {
                let columns = column..heads.head.min(column + PANEL);
                let mut values = [[0.0; PANEL]; BLOCK];
                for (n, row) in tokens.clone().zip(&mut values) {
                    row[..columns.len()].copy_from_slice(&heads.vector(place, 2, n)[columns.clone()]);
                }
                let panel = start + sizes.k + column / PANEL * sizes.row * PANEL;
                let (first, end) = (block * BLOCK / WORD, sizes.keys.min((block + 1) * BLOCK) / WORD);
                // SAFETY: a task has rows of panels of its own.
                let [words, scales] = unsafe {
                    [(first, end - first), (sizes.keys / WORD + block, 1)].map(|(row, rows)| packed.stretch(panel + row * PANEL, rows * PANEL))
                };
                round_columns(&values, bytemuck::cast_slice_mut(words), scales);
            }
        }
    });
}

/// Packs some keys of a head, whose panels begin at `start`.
fn pack_keys(heads: &Heads<'_>, sizes: &Sizes, place: [usize; 2], tokens: Range<usize>, start: usize, packed: &Disjoint<'_>) {
    let words = sizes.vector + 1;
    with_workspace(BLOCK * words, |vectors| {
        let vectors: &mut [u32] = bytemuck::cast_slice_mut(vectors);
        vectors.fill(0);
        for (n, vector) in tokens.clone().zip(vectors.chunks_mut(words)) {
            round_vector(heads.vector(place, 1, n), 1.0, vector);
        }
        let panel = start + tokens.start / PANEL * words * PANEL + tokens.start % PANEL;
        for word in 0..words {
            // SAFETY: a task has columns of panels of its own.
            let row = bytemuck::cast_slice_mut(unsafe { packed.stretch(panel + word * PANEL, BLOCK) });
            row.iter_mut().zip(vectors[word..].iter().step_by(words)).for_each(|(to, from): (&mut u32, _)| *to = *from);
        }
    });
}

vectorised! {
    /// Rounds a vector to integers, and writes their scale, times `factor`, behind them. The scale is not finite if one of the values is not.
    fn round_vector<'a>(values: &'a [f32], factor: f32, words: &'a mut [u32]) -> () {
        let length = sum(values, |value| value * value).sqrt();
        let inverse = if length > 0.0 { LENGTH / length } else { 0.0 };
        let (scale, words) = words.split_last_mut().expect("a word for the scale");
        *scale = (length / LENGTH * factor).to_bits();
        let integers: &mut [u16] = bytemuck::cast_slice_mut(words);
        integers[values.len()..].fill(0);
        integers.iter_mut().zip(values).for_each(|(integer, value)| *integer = (value * inverse + ROUND).to_bits() as u16);
    }
}

vectorised! {
    /// Rounds the columns of a block to integers, two rows to a word, and writes their scales, which are not finite if one of the values is not.
    fn round_columns<'a>(values: &'a [[f32; PANEL]; BLOCK], words: &'a mut [u32], scales: &'a mut [f32]) -> () {
        // As bits, magnitudes have the same order, with NaN last.
        let mut largest = [0; PANEL];
        for row in values {
            for i in 0..PANEL {
                largest[i] = u32::max(largest[i], row[i].abs().to_bits());
            }
        }
        let mut factors = [0.0; PANEL];
        for i in 0..PANEL {
            let scale = f32::from_bits(largest[i]) / LARGEST;
            factors[i] = if scale > 0.0 { scale.recip() } else { 0.0 };
            scales[i] = scale;
        }
        for (pair, words) in values.as_chunks::<WORD>().0.iter().zip(words.as_chunks_mut::<PANEL>().0) {
            for i in 0..PANEL {
                let [low, high] = [pair[0][i], pair[1][i]].map(|value| (value * factors[i] + ROUND).to_bits());
                words[i] = low & 0xffff | high << 16;
            }
        }
    }
}

vectorised! {
    /// Writes e^(score - largest) in integers and the scales of their blocks, and returns the sum of what was written.
    fn exponentials<'a>(scores: &'a [f32], words: &'a mut [u32], scales: &'a mut [f32]) -> f32 {
        for (scale, scores) in scales.iter_mut().zip(scores.chunks(BLOCK)) {
            *scale = largest(scores);
        }
        let of_all = largest(scales);
        let mut totals = [0.0; COLUMNS];
        let integers: &mut [u16] = bytemuck::cast_slice_mut(words);
        for ((scale, scores), integers) in scales.iter_mut().zip(scores.chunks(BLOCK)).zip(integers.chunks_mut(BLOCK)) {
            let of_block = *scale;
            *scale = exp::<S>(of_block - of_all) / LARGEST;
            let mut sums = [0.0; COLUMNS];
            for (scores, integers) in scores.as_chunks::<COLUMNS>().0.iter().zip(integers.as_chunks_mut::<COLUMNS>().0) {
                for i in 0..COLUMNS {
                    let rounded = exp::<S>(scores[i] - of_block) * LARGEST + ROUND;
                    integers[i] = rounded.to_bits() as u16;
                    sums[i] += rounded - ROUND;
                }
            }
            for i in 0..COLUMNS {
                totals[i] += *scale * sums[i];
            }
        }
        totals.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bf16::{self, words};
    use crate::data::capabilities::Precision;
    use crate::execution::cpu::instructions::for_int16;
    use crate::execution::cpu::packed_rows::PackedRows;

    /// Softmax attention in f64.
    fn reference(heads: &Heads<'_>, place: [usize; 2], n: usize) -> Vec<f64> {
        let query = heads.vector(place, 0, n);
        let score = |key: &[f32]| query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>() * f64::from(heads.scale);
        let scores: Vec<f64> = (0..heads.tokens).map(|j| score(heads.vector(place, 1, j))).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let value = |d: usize| (0..heads.tokens).map(|j| weights[j] * f64::from(heads.vector(place, 2, j)[d])).sum::<f64>() / total;
        (0..heads.head).map(value).collect()
    }

    #[test]
    fn rounded_attention_is_close_to_f64() {
        let Some(multiply) = for_int16() else {
            println!("SKIPPED: the processor has no instructions for integers of 16 bits");
            return;
        };
        for [images, tokens, queries, heads, head] in
            [[1, 2, 2, 1, 16], [2, 17, 17, 3, 10], [1, 197, 197, 2, 64], [3, 65, 1, 1, 72], [1, 130, 99, 2, 130]]
        {
            let width = heads * head;
            let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
            let qkv: Vec<f32> = (0..images * tokens * 3 * width).map(value).collect();
            let heads = Heads { qkv: &qkv, images, tokens, queries, heads, head, scale: (head as f32).sqrt().recip() };
            let mut packed = vec![f32::NAN; images * queries * words(width)];
            attend(&heads, &PackedRows::new(Precision::Bf16, true, width, &mut packed), multiply);
            // Integers are off by a half. So a score is by the product of both lengths over 32767: at most D over it, as the scale is 1 over the root of D. Weights,
            // their sum and values are by 1 in 16382, and the result is rounded to bf16.
            let tolerance = 2.0 * head as f64 / f64::from(LENGTH) + 1.5 / f64::from(LARGEST) + 1.0 / 512.0;
            for (row, packed) in packed.chunks(words(width)).enumerate() {
                let mut got = vec![0.0; width];
                bf16::restore(bytemuck::cast_slice(packed), &mut got);
                for (h, got) in got.chunks(head).enumerate() {
                    let want = reference(&heads, [row / queries, h], row % queries);
                    for (got, want) in got.iter().zip(want) {
                        assert!((f64::from(*got) - want).abs() <= tolerance, "{tokens} tokens, D {head}, row {row}: {got} instead of {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_are_not_hidden() {
        let Some(multiply) = for_int16() else { return };
        for (part, bad) in [(0, f32::NAN), (1, f32::INFINITY), (2, f32::NAN)] {
            let mut qkv = vec![0.5; 20 * 3 * 64];
            qkv[(7 * 3 + part) * 64 + 5] = bad;
            let heads = Heads { qkv: &qkv, images: 1, tokens: 20, queries: 20, heads: 1, head: 64, scale: 0.125 };
            let mut packed = vec![0.0; 20 * 32];
            attend(&heads, &PackedRows::new(Precision::Bf16, true, 64, &mut packed), multiply);
            let mut row = vec![0.0; 64];
            bf16::restore(bytemuck::cast_slice(&packed[7 * 32..][..32]), &mut row);
            assert!(row.iter().any(|value| value.is_nan()), "part {part}");
        }
    }
}
