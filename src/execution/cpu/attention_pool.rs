//! Twins of `attention_pool`, plain and masked: one query per head, shared by all images.

use super::attention_mask::Mask;
use super::parallel::{for_each_chunk, with_workspace};
use super::softmax::normalise;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `attention_pool`.
    Params {
        /// N, tokens per image.
        tokens: u32,
        /// H, heads.
        heads: u32,
        /// First token attended to.
        first: u32,
        /// Scale of the scores, 1 / sqrt(D).
        scale: f32,
    }
}

/// Twin of `attention_pool`.
pub fn attention_pool(call: Call<'_>) {
    pool(call, &Mask::None);
}

/// Twin of `attention_pool_masked`.
pub fn attention_pool_masked(call: Call<'_>) {
    let mask = Mask::Keys(call.reads[2]);
    pool(call, &mask);
}

fn pool(call: Call<'_>, mask: &Mask<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [q, kv] = [call.reads[0], call.reads[1]];
    let [tokens, heads, first, head] = [params.tokens, params.heads, params.first, call.spec.get("HEAD")].map(|size| size as usize);
    for_each_chunk(call.write, head, |row, y| {
        let (h, b) = (row % heads, row / heads);
        let vector = |n: usize, part: usize| &kv[(((b * tokens + n) * 2 + part) * heads + h) * head..][..head];
        with_workspace(tokens - first, |weights| {
            for (n, weight) in (first..).zip(weights.iter_mut()) {
                *weight = q[h * head..].iter().zip(vector(n, 0)).map(|(q, k)| q * k).sum::<f32>() * params.scale + mask.bias(tokens, [b, h], 0, n);
            }
            normalise(weights, tokens - first, tokens - first);
            y.fill(0.0);
            for (n, weight) in (first..).zip(weights.iter()) {
                y.iter_mut().zip(vector(n, 1)).for_each(|(sum, value)| *sum += weight * value);
            }
        });
    });
}
