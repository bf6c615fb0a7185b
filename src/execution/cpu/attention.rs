//! Twins of `attention` and `attention_masked`. They compute scores, softmax and values of one head for a few queries at a time, so no N × N matrix
//! is stored.

use super::parallel::{Disjoint, for_each_number, threads, with_workspace};
use super::product::{Cores, Matrix, ROWS, Target, product};
use super::softmax::normalise;
use super::vectors::LANES;
use crate::data::panels::PANEL;
use crate::data::record::{Call, PackedCopy, params};

/// Tasks per thread, given enough work. Each lays out the keys of its head again.
const TASKS: usize = 4;

/// Elements of the widest vector.
const VECTOR: usize = 16;

params! {
    /// Parameters of `attention` and `attention_masked`.
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

/// Twin of `attention`.
pub fn attention(call: Call<'_>) {
    let [qkv] = call.reads else { panic!("qkv") };
    attend(*bytemuck::from_bytes(call.params), call.spec.get("HEAD"), qkv, None, call.write, call.packed);
}

/// Twin of `attention_masked`.
pub fn attention_masked(call: Call<'_>) {
    let [qkv, mask] = call.reads else { panic!("qkv and mask") };
    attend(*bytemuck::from_bytes(call.params), call.spec.get("HEAD"), qkv, Some(mask), call.write, call.packed);
}

/// Computes attention from the first `queries` tokens to all tokens whose `mask` is 0.
fn attend(params: Params, head: u32, qkv: &[f32], mask: Option<&[f32]>, y: &mut [f32], packed: Option<&dyn PackedCopy>) {
    let [tokens, queries, heads, head] = [params.tokens, params.queries, params.heads, head].map(|size| size as usize);
    let width = heads * head;
    let images = y.len() / (queries * width);
    let packed = packed.filter(|packed| packed.promise(head));
    let y = Disjoint::new(y);
    let (chunks, groups) = (queries.div_ceil(ROWS), (TASKS * threads()).div_ceil(images * heads));
    let group = chunks.div_ceil(groups) * ROWS;
    let groups = queries.div_ceil(group);
    // Scores and keys have one column per token, in rows of whole panels.
    let columns = tokens.next_multiple_of(PANEL);
    for_each_number(images * heads * groups, |task| {
        let (first, h, image) = (task % groups * group, task / groups % heads, task / (groups * heads));
        let rows = |part: usize, n: usize| &qkv[((image * tokens + n) * 3 + part) * width + h * head..];
        with_workspace(columns * head + ROWS * (columns + head), |workspace| {
            let (keys, workspace) = workspace.split_at_mut(columns * head);
            let (scores, sums) = workspace.split_at_mut(ROWS * columns);
            keys.fill(0.0);
            for j in 0..tokens {
                let column = &mut keys[j / PANEL * PANEL * head + j % PANEL..];
                column.iter_mut().step_by(PANEL).zip(&rows(1, j)[..head]).for_each(|(to, from)| *to = *from);
            }
            for top in (first..queries.min(first + group)).step_by(ROWS) {
                let count = ROWS.min(queries - top);
                let q = Matrix { data: rows(0, top), row_stride: 3 * width, column_stride: 1 };
                for (panel, first) in keys.chunks(PANEL * head).zip((0..columns).step_by(PANEL)) {
                    // Zeros are computed only up to a whole vector.
                    let width = PANEL.min((tokens - first).next_multiple_of(VECTOR));
                    let k_transposed = Matrix { data: panel, row_stride: PANEL, column_stride: 1 };
                    let scores = Target { data: &mut scores[first..], row_stride: columns };
                    product([count, width, head], params.scale, q, k_transposed, scores, Cores::One);
                }
                if let Some(mask) = mask {
                    let mask = &mask[image * tokens..][..tokens];
                    for row in scores.chunks_mut(columns).take(count) {
                        row.iter_mut().zip(mask).filter(|(_, mask)| **mask != 0.0).for_each(|(score, _)| *score = f32::NEG_INFINITY);
                    }
                }
                // Rows end at a whole chunk of the loops, with columns of no weight.
                let padded = tokens.next_multiple_of(LANES);
                scores.chunks_mut(columns).take(count).for_each(|row| row[tokens..padded].fill(f32::NEG_INFINITY));
                normalise(&mut scores[..count * columns], columns, padded);
                let probabilities = Matrix { data: scores, row_stride: columns, column_stride: 1 };
                let v = Matrix { data: rows(2, 0), row_stride: 3 * width, column_stride: 1 };
                product([count, head, tokens], 1.0, probabilities, v, Target { data: sums, row_stride: head }, Cores::One);
                for (n, sums) in (top..top + count).zip(sums.chunks(head)) {
                    // SAFETY: a task is one head of a group of queries of one image; no other task has an element in common with it.
                    unsafe {
                        y.stretch((image * queries + n) * width + h * head, head).copy_from_slice(sums);
                        packed.inspect(|packed| packed.pack(image * queries + n, h * head, sums));
                    }
                }
            }
        });
    });
}
