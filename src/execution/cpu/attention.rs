//! Twins of `attention`, plain and with masks. They compute scores, softmax and values of one head for a few queries at a time, so no N × N matrix
//! is stored.

use super::attention_mask::Mask;
use super::attention_rounded;
use super::exponential::exp;
use super::instructions::for_int16;
use super::parallel::{Disjoint, for_each_number, threads, with_workspace};
use super::product::{Cores, Matrix, ROWS, Target, product};
use super::vectors::vectorised;
use crate::data::record::{Call, PackedCopy, params};
use std::ops::Range;

/// Tasks per thread, given enough work.
const TASKS: usize = 4;

/// Elements of the widest vector.
const VECTOR: usize = 16;

/// Queries at a time: few enough that `gemm` reads v in place.
const QUERIES: usize = ROWS;

const _: () = assert!(QUERIES == 3 * VECTOR);

params! {
    /// Parameters of `attention`.
    Params {
        /// N, tokens per image.
        tokens: u32,
        /// Number of queries: the first tokens of the image.
        queries: u32,
        /// H, heads.
        heads: u32,
        /// Scale of the scores, 1 / sqrt(D).
        scale: f32,
        /// B, images.
        batch: u32,
    }
}

/// Twin of `attention`. Powers of two that scale queries, keys and values leave the result as it is.
pub fn attention(call: Call<'_>) {
    attend(call, &Mask::None);
}

/// Twin of `attention_masked`.
pub fn attention_masked(call: Call<'_>) {
    let mask = Mask::Keys(last(&call));
    attend(call, &mask);
}

/// Twin of `attention_causal`.
pub fn attention_causal(call: Call<'_>) {
    attend(call, &Mask::Causal);
}

/// Twin of `attention_causal_masked`.
pub fn attention_causal_masked(call: Call<'_>) {
    let mask = Mask::CausalKeys(last(&call));
    attend(call, &mask);
}

/// Twin of `attention_relative`.
pub fn attention_relative(call: Call<'_>) {
    let mask = Mask::relative(&call, last(&call));
    attend(call, &mask);
}

/// Returns what the mask reads, behind queries, keys and values, and their powers of two if there are any.
fn last<'a>(call: &Call<'a>) -> &'a [f32] {
    call.reads[call.reads.len() - 1]
}

/// The heads of an attention call.
pub(super) struct Heads<'a> {
    /// `[B, N, 3, H, D]`.
    pub qkv: &'a [f32],
    /// B.
    pub images: usize,
    /// N.
    pub tokens: usize,
    /// The first tokens of each image.
    pub queries: usize,
    /// H.
    pub heads: usize,
    /// D.
    pub head: usize,
    /// Of the scores.
    pub scale: f32,
}

impl Heads<'_> {
    /// Returns the query (`part` 0), key (1) or value (2) of a token. A place is an image and a head.
    pub fn vector(&self, place: [usize; 2], part: usize, n: usize) -> &[f32] {
        &self.from(place, part, n)[..self.head]
    }

    /// Returns everything from that vector on.
    fn from(&self, [image, h]: [usize; 2], part: usize, n: usize) -> &[f32] {
        &self.qkv[(((image * self.tokens + n) * 3 + part) * self.heads + h) * self.head..]
    }

    /// Returns the row of the result for a query.
    pub fn row(&self, [image, _]: [usize; 2], n: usize) -> usize {
        image * self.queries + n
    }

    /// Returns the first column of a head in the result.
    pub fn column(&self, [_, h]: [usize; 2]) -> usize {
        h * self.head
    }

    /// Calls `work` with each place and groups of its queries.
    fn for_each_group(&self, work: impl Fn([usize; 2], Range<usize>) + Sync) {
        let (chunks, groups) = (self.queries.div_ceil(QUERIES), (TASKS * threads()).div_ceil(self.images * self.heads));
        let group = chunks.div_ceil(groups) * QUERIES;
        let groups = self.queries.div_ceil(group);
        for_each_number(self.images * self.heads * groups, |task| {
            let (first, h, image) = (task % groups * group, task / groups % self.heads, task / (groups * self.heads));
            work([image, h], first..self.queries.min(first + group));
        });
    }
}

/// Computes attention from the first `queries` tokens.
fn attend(call: Call<'_>, mask: &Mask<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [tokens, queries, heads, head] = [params.tokens, params.queries, params.heads, call.spec.get("HEAD")].map(|size| size as usize);
    let (width, y) = (heads * head, call.write);
    let heads = &Heads { qkv: call.reads[0], images: y.len() / (queries * width), tokens, queries, heads, head, scale: params.scale };
    let packed = call.packed.filter(|packed| packed.promise(head));
    let is_replaced = packed.is_some_and(PackedCopy::replaces_rows);
    if let (Mask::None, true, Some(packed), Some(multiply)) = (mask, is_replaced, packed, for_int16()) {
        return attention_rounded::attend(heads, packed, multiply);
    }
    let y = Disjoint::new(y);
    heads.for_each_group(|place, group| {
        let [k, v] = [1, 2].map(|part| Matrix { data: heads.from(place, part, 0), row_stride: 3 * width, column_stride: 1 });
        with_workspace((tokens + 2 * head) * QUERIES, |workspace| {
            let (scores, workspace) = workspace.split_at_mut(tokens * QUERIES);
            let (q_transposed, sums) = workspace.split_at_mut(head * QUERIES);
            for top in group.clone().step_by(QUERIES) {
                let count = QUERIES.min(group.end - top);
                q_transposed.fill(0.0);
                for i in 0..count {
                    let query = heads.vector(place, 0, top + i);
                    q_transposed[i..].iter_mut().step_by(QUERIES).zip(query).for_each(|(to, from)| *to = *from);
                }
                // A row of scores per token, and a column per query, so that a vector of queries goes through softmax at once.
                let columns = count.next_multiple_of(VECTOR);
                let q_transposed = Matrix { data: q_transposed, row_stride: QUERIES, column_stride: 1 };
                product([tokens, columns, head], heads.scale, k, q_transposed, Target { data: scores, row_stride: QUERIES }, Cores::One);
                mask.add(tokens, place, [top, count], scores, QUERIES);
                let totals = exponentials(scores, columns);
                let weights = Matrix { data: scores, row_stride: 1, column_stride: QUERIES };
                product([count, head, tokens], 1.0, weights, v, Target { data: sums, row_stride: head }, Cores::One);
                for ((n, sums), total) in (top..top + count).zip(sums.chunks_mut(head)).zip(totals) {
                    scale(sums, total.recip());
                    let (row, column) = (heads.row(place, n), heads.column(place));
                    // SAFETY: a task is one head of a group of queries of one image; no other task has an element in common with it.
                    unsafe {
                        if !is_replaced {
                            y.stretch(row * width + column, head).copy_from_slice(sums);
                        }
                        packed.inspect(|packed| packed.pack(row, column, sums));
                    }
                }
            }
        });
    });
}

vectorised! {
    /// Replaces the scores in the first `columns` of each row by e^(score - largest of the column), and returns the sum of each column.
    fn exponentials<'a>(scores: &'a mut [f32], columns: usize) -> [f32; QUERIES] {
        let mut totals = [0.0; QUERIES];
        match columns / VECTOR {
            // Constant widths, so that what is kept for each column stays in registers.
            1 => exponentials_of::<S, VECTOR>(scores, &mut totals),
            2 => exponentials_of::<S, { 2 * VECTOR }>(scores, &mut totals),
            _ => exponentials_of::<S, QUERIES>(scores, &mut totals),
        }
        totals
    }
}

#[inline(always)]
fn exponentials_of<S: pulp::Simd, const N: usize>(scores: &mut [f32], totals: &mut [f32; QUERIES]) {
    let mut largest = [f32::NEG_INFINITY; N];
    for row in scores.chunks_exact(QUERIES) {
        for i in 0..N {
            largest[i] = if row[i] > largest[i] { row[i] } else { largest[i] };
        }
    }
    let mut sums = [0.0; N];
    for row in scores.chunks_exact_mut(QUERIES) {
        for i in 0..N {
            row[i] = exp::<S>(row[i] - largest[i]);
            sums[i] += row[i];
        }
    }
    totals[..N].copy_from_slice(&sums);
}

vectorised! {
    pub(super) fn scale<'a>(values: &'a mut [f32], factor: f32) -> () {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}
