//! Twins of `attention` and `attention_masked`: scores, softmax and values for a block of queries at a time.

use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Cores, Matrix, Target, product};
use super::softmax::normalise;
use crate::record::{Call, params};

/// Queries whose scores are held at once, by each core: QUERIES × N, never N × N.
const QUERIES: usize = 32;

params! {
    /// Parameters of `attention` and `attention_masked`.
    Params {
        /// N, tokens of an image.
        tokens: u32,
        /// How many of them, from the first on, are queries.
        queries: u32,
        /// H, heads.
        heads: u32,
        /// Factor on the scores, 1 / sqrt(D).
        scale: f32,
    }
}

/// Twin of `attention`.
pub fn attention(call: Call<'_>) {
    let [qkv] = call.reads else { panic!("qkv") };
    attend(*bytemuck::from_bytes(call.params), call.spec.get("HEAD"), qkv, None, call.write);
}

/// Twin of `attention_masked`.
pub fn attention_masked(call: Call<'_>) {
    let [qkv, mask] = call.reads else { panic!("qkv and mask") };
    attend(*bytemuck::from_bytes(call.params), call.spec.get("HEAD"), qkv, Some(mask), call.write);
}

/// Attention of the first tokens to those whose `mask` is 0.
fn attend(params: Params, head: u32, qkv: &[f32], mask: Option<&[f32]>, y: &mut [f32]) {
    let [tokens, queries, heads, head] = [params.tokens, params.queries, params.heads, head].map(|size| size as usize);
    let width = heads * head;
    for (image, y) in y.chunks_mut(queries * width).enumerate() {
        let qkv = &qkv[image * tokens * 3 * width..][..tokens * 3 * width];
        for_each_chunk(y, QUERIES * width, |block, y| {
            let queries = y.len() / width;
            let rows = |part: usize, h: usize, first: usize| &qkv[first * 3 * width + part * width + h * head..];
            with_workspace(queries * tokens, |scores| {
                for h in 0..heads {
                    let q = Matrix { data: rows(0, h, block * QUERIES), row_stride: 3 * width, column_stride: 1 };
                    let k_transposed = Matrix { data: rows(1, h, 0), row_stride: 1, column_stride: 3 * width };
                    let v = Matrix { data: rows(2, h, 0), row_stride: 3 * width, column_stride: 1 };
                    product(
                        [queries, tokens, head],
                        params.scale,
                        q,
                        k_transposed,
                        Target { data: scores, row_stride: tokens, add: false },
                        Cores::One,
                    );
                    if let Some(mask) = mask {
                        let mask = &mask[image * tokens..][..tokens];
                        for row in scores.chunks_mut(tokens) {
                            row.iter_mut().zip(mask).filter(|(_, mask)| **mask != 0.0).for_each(|(score, _)| *score = f32::NEG_INFINITY);
                        }
                    }
                    scores.chunks_mut(tokens).for_each(normalise);
                    let scores = Matrix { data: scores, row_stride: tokens, column_stride: 1 };
                    product([queries, head, tokens], 1.0, scores, v, Target { data: &mut y[h * head..], row_stride: width, add: false }, Cores::One);
                }
            });
        });
    }
}
