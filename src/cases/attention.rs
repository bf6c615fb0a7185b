//! Cases of attention: of all tokens, of some, masked, and of one query that pools.

use super::Fill::{Left, Mask, Within};
use super::{Case, reference};
use crate::kernels;

/// Attention of the first `queries` tokens of each image, in every way that takes such heads.
pub(super) fn attention([batch, tokens, heads, head]: [usize; 4], queries: usize, range: f32) -> Vec<Case> {
    let sizes = [batch, tokens, heads, head];
    let case = |kernel| Case {
        name: format!("{kernel} {sizes:?}, {queries} queries, within {range}"),
        kernel,
        inputs: vec![(vec![batch, tokens, 3 * heads * head], Left(range))],
        output: vec![batch, queries, heads * head],
        record: Box::new(move |recording, inputs, output| kernels::attention(recording, kernel.into(), inputs[0], heads, None, output)),
        reference: Box::new(move |inputs| {
            let all = reference::weighted_values(&inputs[0], &reference::probabilities(&inputs[0], sizes, &[]), sizes);
            all.chunks(tokens * heads * head).flat_map(|image| &image[..queries * heads * head]).copied().collect()
        }),
        // An error of the score is an error of its exponential as many times as large as the scores are.
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * heads * queries * tokens * head) as u64,
    };
    let taken = [("attention", 1, usize::MAX), ("attention_subgroup", 4, 128), ("attention_coop8", 8, 128), ("attention_coop16", 16, 128)];
    taken.into_iter().filter(|(_, unit, most)| head.is_multiple_of(*unit) && head <= *most).map(|(kernel, ..)| case(kernel)).collect()
}

pub(super) fn values(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
    let sizes = [batch, tokens, heads, head];
    Case {
        name: format!("attention_naive_values {sizes:?}"),
        kernel: "attention_naive_values",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], Within(1.0)), (vec![batch, heads, tokens, tokens], Within(1.0))],
        output: vec![batch, tokens, heads * head],
        record: Box::new(|recording, inputs, output| kernels::attention_naive_values(recording, "values".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| reference::weighted_values(&inputs[0], &inputs[1], sizes)),
        terms: tokens,
        flops: 2 * (batch * heads * tokens * tokens * head) as u64,
    }
}

pub(super) fn masked(batch: usize, tokens: usize, heads: usize, head: usize, range: f32) -> Case {
    let sizes = [batch, tokens, heads, head];
    Case {
        name: format!("attention_masked {sizes:?} within {range}"),
        kernel: "attention_masked",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], Within(range)), (vec![batch, tokens], Mask)],
        output: vec![batch, tokens, heads * head],
        record: Box::new(move |recording, inputs, output| {
            kernels::attention(recording, "attention".into(), inputs[0], heads, Some(inputs[1]), output)
        }),
        reference: Box::new(move |inputs| reference::weighted_values(&inputs[0], &reference::probabilities(&inputs[0], sizes, &inputs[1]), sizes)),
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * heads * tokens * tokens * head) as u64,
    }
}

pub(super) fn attention_pool(batch: usize, tokens: usize, first: usize, heads: usize, head: usize, range: f32) -> Case {
    let width = heads * head;
    Case {
        name: format!("attention_pool [{batch}, {tokens}, {heads}, {head}] from {first} on within {range}"),
        kernel: "attention_pool",
        inputs: vec![(vec![1, width], Within(range)), (vec![batch, tokens, 2 * width], Within(range))],
        output: vec![batch, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::attention_pool(recording, "attention_pool".into(), inputs[0], inputs[1], heads, first, output)
        }),
        reference: Box::new(move |inputs| reference::attention_pool(&inputs[0], &inputs[1], [batch, tokens, heads, head], first)),
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * tokens * width) as u64,
    }
}
