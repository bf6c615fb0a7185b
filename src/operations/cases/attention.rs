//! Cases of attention: full, partial, masked, and pooling by a single query.

use super::Fill::{Left, Within};
use super::masks::Masking;
use super::{Case, of_all_devices, reference};
use crate::data::capabilities::Precision;
use crate::operations::kernels::attention::mask::MaskKind;
use crate::operations::kernels::attention::variants::{Shape, Sizes, suitable};
use crate::operations::kernels::{self, variant::Variant};

/// Attention of the first `queries` tokens of each image, with every variant that supports the head width.
pub(super) fn attention(sizes: [usize; 4], queries: usize, range: f32) -> Vec<Case> {
    of_variants(sizes, queries, range, MaskKind::None)
}

/// Attention of all tokens with each kind of mask.
pub(super) fn masked(sizes: [usize; 4], range: f32) -> Vec<Case> {
    let kinds = MaskKind::ALL.into_iter().filter(|kind| *kind != MaskKind::None);
    kinds.flat_map(|kind| of_variants(sizes, sizes[1], range, kind)).collect()
}

fn of_variants(sizes: [usize; 4], queries: usize, range: f32, kind: MaskKind) -> Vec<Case> {
    let [batch, tokens, heads, head] = sizes;
    let masking = Masking { kind, batch, tokens, heads };
    let case = |Variant { kernel, shape }: &'static Variant<Shape>, precision| Case {
        name: format!("{} {sizes:?}, {queries} queries, within {range}", kernel.name),
        kernel: kernel.name,
        inputs: [(vec![batch, tokens, 3 * heads * head], Left(range))].into_iter().chain(masking.input()).collect(),
        output: vec![batch, queries, heads * head],
        record: Box::new(move |recording, inputs, output| {
            kernels::attention(recording, kernel.name.into(), inputs[0], heads, masking.mask(inputs), output)
        }),
        reference: Box::new(move |inputs| {
            let p = reference::probabilities(&inputs[0], sizes, |b, h, place| masking.bias(inputs, b, h, place));
            let all = reference::weighted_values(&inputs[0], &p, sizes);
            all.chunks(tokens * heads * head).flat_map(|image| &image[..queries * heads * head]).copied().collect()
        }),
        precision,
        activations: precision,
        is_large: shape.is_large(head),
        // Each f16 weight is off by at most 2^-11 of itself, and so is their sum. A mean of values up to v moves by at most v / 1024.
        slack: if kernel.needs.cooperative > 0 && precision == Precision::F16 { f64::from(range) / 1024.0 } else { 0.0 },
        // A score's error becomes an error of its exponential, scaled by the magnitude of the scores.
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * heads * queries * tokens * head) as u64,
        ..Case::plain()
    };
    let mut cases = Vec::new();
    for qkv in [Precision::F32, Precision::F16] {
        for variant in of_all_devices(|device| suitable(&Sizes { queries, head, mask: kind, qkv }, device)) {
            cases.push(if qkv == Precision::F16 { case(variant, qkv).in_f16() } else { case(variant, qkv) });
        }
    }
    cases
}

/// Powers of two that scale queries, keys and values. One value of each vector is much larger than the rest.
pub(super) fn powers([batch, tokens, heads, head]: [usize; 4]) -> Case {
    Case {
        name: format!("attention_powers {:?}", [batch, tokens, heads, head]),
        kernel: "attention_powers",
        inputs: vec![(vec![batch * tokens * 3 * heads, head], Left(1.0))],
        is_peaked: true,
        output: vec![batch, heads, 3],
        record: Box::new(move |recording, inputs, output| {
            kernels::attention_powers(recording, "powers".into(), inputs[0], [batch, tokens], head, output)
        }),
        reference: Box::new(move |inputs| {
            let largest = |(b, h, part): (usize, usize, usize)| {
                let start = |n| (((b * tokens + n) * 3 + part) * heads + h) * head;
                let values = (0..tokens).flat_map(|n| &inputs[0][start(n)..][..head]);
                values.fold(0.0, |most: f64, value| most.max(value.abs()))
            };
            let places = (0..batch * heads * 3).map(|i| (i / (3 * heads), i / 3 % heads, i % 3));
            places.map(|place| 2f64.powf(12.0 - largest(place).log2().floor())).collect()
        }),
        flops: (batch * tokens * 3 * heads * head) as u64,
        ..Case::plain()
    }
}

pub(super) fn values(batch: usize, tokens: usize, heads: usize, head: usize) -> [Case; 2] {
    let sizes = [batch, tokens, heads, head];
    let case = || Case {
        name: format!("attention_naive_values {sizes:?}"),
        kernel: "attention_naive_values",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], Left(1.0)), (vec![batch, heads, tokens, tokens], Within(1.0))],
        output: vec![batch, tokens, heads * head],
        record: Box::new(|recording, inputs, output| kernels::attention_naive_values(recording, "values".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| reference::weighted_values(&inputs[0], &inputs[1], sizes)),
        terms: tokens,
        flops: 2 * (batch * heads * tokens * tokens * head) as u64,
        ..Case::plain()
    };
    [case(), Case { written: Precision::F32, ..case().in_f16() }]
}

/// Attention of one query, with a mask and without.
pub(super) fn attention_pool(batch: usize, tokens: usize, first: usize, heads: usize, head: usize, range: f32) -> [Case; 2] {
    let of = |kind| pool_by(Masking { kind, batch, tokens, heads }, first, head, range);
    [of(MaskKind::None), of(MaskKind::Keys)]
}

fn pool_by(masking: Masking, first: usize, head: usize, range: f32) -> Case {
    let Masking { kind, batch, tokens, heads } = masking;
    // Every token may be masked but one of each sequence; all of those attended to must not be.
    let first = if kind == MaskKind::None { first } else { 0 };
    let (width, kernel) = (heads * head, if kind == MaskKind::None { "attention_pool" } else { "attention_pool_masked" });
    Case {
        name: format!("{kernel} [{batch}, {tokens}, {heads}, {head}] from {first} on within {range}"),
        kernel,
        inputs: [(vec![1, width], Within(range)), (vec![batch, tokens, 2 * width], Within(range))].into_iter().chain(masking.input()).collect(),
        output: vec![batch, width],
        record: Box::new(move |recording, inputs, output| {
            let mask = masking.mask(inputs).buf();
            kernels::attention_pool(recording, "attention_pool".into(), [inputs[0], inputs[1]], heads, first, mask, output)
        }),
        reference: Box::new(move |inputs| {
            let bias = |b: usize, n: usize| masking.bias(inputs, b, 0, [0, n]);
            reference::attention_pool(&inputs[0], &inputs[1], [batch, tokens, heads, head], first, bias)
        }),
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * tokens * width) as u64,
        ..Case::plain()
    }
}
