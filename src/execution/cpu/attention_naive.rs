//! Twins of the two `attention_naive` kernels, written directly from the formula.

use super::attention_mask::Mask;
use super::parallel::for_each_chunk;
use super::softmax::normalise;
use crate::data::record::{Call, params};

params! {
    /// Parameters of the `attention_naive` kernels.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// H, heads.
        heads: u32,
        /// D, width of a head.
        head: u32,
        /// Query that row 0 of the probabilities belongs to.
        first: u32,
        /// Number of queries with a row of probabilities.
        queries: u32,
        /// Scale of the scores, 1 / sqrt(D).
        scale: f32,
    }
}

impl Params {
    fn sizes(&self) -> [usize; 3] {
        [self.tokens as usize, self.heads as usize, self.head as usize]
    }

    /// Returns vector `part` (0 query, 1 key, 2 value) of a token.
    fn vector<'a>(&self, qkv: &'a [f32], b: usize, n: usize, part: usize, h: usize) -> &'a [f32] {
        let [tokens, heads, head] = self.sizes();
        &qkv[(((b * tokens + n) * 3 + part) * heads + h) * head..][..head]
    }
}

/// Twin of `attention_naive_probabilities`.
pub fn attention_naive_probabilities(call: Call<'_>) {
    probabilities(call, &Mask::None);
}

/// Twin of `attention_naive_probabilities_masked`.
pub fn attention_naive_probabilities_masked(call: Call<'_>) {
    let mask = Mask::Keys(call.reads[1]);
    probabilities(call, &mask);
}

/// Twin of `attention_naive_probabilities_causal`.
pub fn attention_naive_probabilities_causal(call: Call<'_>) {
    probabilities(call, &Mask::Causal);
}

/// Twin of `attention_naive_probabilities_causal_masked`.
pub fn attention_naive_probabilities_causal_masked(call: Call<'_>) {
    let mask = Mask::CausalKeys(call.reads[1]);
    probabilities(call, &mask);
}

/// Twin of `attention_naive_probabilities_relative`.
pub fn attention_naive_probabilities_relative(call: Call<'_>) {
    let mask = Mask::relative(&call, call.reads[1]);
    probabilities(call, &mask);
}

fn probabilities(call: Call<'_>, mask: &Mask<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let qkv = call.reads[0];
    let [tokens, heads, _] = params.sizes();
    let [first, queries] = [params.first, params.queries].map(|size| size as usize);
    for_each_chunk(call.write, tokens, |row, scores| {
        let (i, h, b) = (first + row % queries, row / queries % heads, row / (queries * heads));
        let query = params.vector(qkv, b, i, 0, h);
        for (j, score) in scores.iter_mut().enumerate() {
            let key = params.vector(qkv, b, j, 1, h);
            // In f64: otherwise scores in the hundreds lose digits that their exponentials need.
            let product = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>() * f64::from(params.scale);
            *score = product as f32 + mask.bias(tokens, [b, h], i, j);
        }
        normalise(scores, tokens, tokens);
    });
}

/// Twin of `attention_naive_values`.
pub fn attention_naive_values(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [qkv, weights] = call.reads else { panic!("qkv and weights") };
    let [tokens, heads, head] = params.sizes();
    for_each_chunk(call.write, head, |row, y| {
        let (h, i, b) = (row % heads, row / heads % tokens, row / (heads * tokens));
        let weights = &weights[((b * heads + h) * tokens + i) * tokens..][..tokens];
        y.fill(0.0);
        for (j, weight) in weights.iter().enumerate() {
            let value = params.vector(qkv, b, j, 2, h);
            y.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight * value);
        }
    });
}
