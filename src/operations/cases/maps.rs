//! Cases of the map kernels: attention probabilities, rollout, principal components.

use super::Fill::{Graded, Left, Within};
use super::masks::Masking;
use super::{Case, reference};
use crate::data::capabilities::Precision;
use crate::operations::kernels;
use crate::operations::kernels::attention::mask::MaskKind;
use crate::operations::kernels::attention_naive::ATTENTION_NAIVE_PROBABILITIES;

/// Number of columns that the `pca` kernels iterate on.
const BLOCK: usize = 8;

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for sizes in [[1, 2, 1, 16], [2, 65, 3, 16], [1, 64, 2, 64], [1, 33, 1, 72], [2, 26, 2, 80], [1, 130, 1, 128], [1, 17, 3, 10], [1, 1, 2, 8]] {
        cases.extend(of_sizes(sizes, 0, sizes[1]));
    }
    let plain = MaskKind::None;
    cases.extend([probabilities([2, 65, 3, 16], 0, 1, plain), probabilities([1, 40, 2, 64], 39, 1, plain)]);
    cases.extend(MaskKind::ALL.map(|kind| probabilities([2, 33, 2, 10], 3, 7, kind)));
    for [batch, tokens, width, first] in [[1, 197, 192, 1], [2, 20, 65, 5], [1, 9, 64, 0], [3, 70, 130, 4], [1, 4, 8, 3]] {
        cases.extend(components([batch, tokens, width], first));
    }
    cases
}

/// Cases for the sizes B, N, H and D of an image. Patches, or queries, start at `first`.
pub fn of_sizes(sizes: [usize; 4], first: usize, queries: usize) -> Vec<Case> {
    let [batch, tokens, heads, head] = sizes;
    let of_f16 = Case { written: Precision::F32, ..probabilities(sizes, first, queries, MaskKind::None).in_f16() };
    let mut cases = vec![of_f16, mix(batch, tokens, heads), product(batch, tokens)];
    cases.extend(MaskKind::ALL.map(|kind| probabilities(sizes, first, queries, kind)));
    cases.extend(components([batch, tokens, heads * head], first));
    cases
}

fn probabilities(sizes: [usize; 4], first: usize, queries: usize, kind: MaskKind) -> Case {
    let [batch, tokens, heads, head] = sizes;
    let kernel = ATTENTION_NAIVE_PROBABILITIES[kind as usize].name;
    let masking = Masking { kind, batch, tokens, heads };
    Case {
        name: format!("{kernel} {sizes:?}, {queries} queries from {first} on"),
        kernel,
        inputs: [(vec![batch, tokens, 3 * heads * head], Left(1.5))].into_iter().chain(masking.input()).collect(),
        output: vec![batch, heads, queries, tokens],
        record: Box::new(move |recording, inputs, output| {
            kernels::attention_naive_probabilities(recording, "probabilities".into(), inputs[0], masking.mask(inputs), first, output)
        }),
        reference: Box::new(move |inputs| {
            let all = reference::probabilities(&inputs[0], sizes, |b, h, place| masking.bias(inputs, b, h, place));
            all.chunks(tokens * tokens).flat_map(|head| head[first * tokens..][..queries * tokens].to_vec()).collect()
        }),
        terms: head + tokens,
        flops: 2 * (batch * heads * queries * tokens * head) as u64,
        ..Case::plain()
    }
}

fn mix(batch: usize, tokens: usize, heads: usize) -> Case {
    Case {
        name: format!("rollout_mix {batch}x{heads}x{tokens}x{tokens}"),
        kernel: "rollout_mix",
        inputs: vec![(vec![batch, heads, tokens, tokens], Within(1.0))],
        output: vec![batch, tokens, tokens],
        record: Box::new(|recording, inputs, output| kernels::rollout_mix(recording, "mix".into(), inputs[0], output)),
        reference: Box::new(move |inputs| {
            let square = tokens * tokens;
            let element = |i: usize| {
                let (b, at) = (i / square, i % square);
                let mean = (0..heads).map(|h| inputs[0][(b * heads + h) * square + at]).sum::<f64>() / heads as f64;
                (mean + if at / tokens == at % tokens { 1.0 } else { 0.0 }) / 2.0
            };
            (0..batch * square).map(element).collect()
        }),
        terms: heads,
        flops: (batch * heads * tokens * tokens) as u64,
        ..Case::plain()
    }
}

fn product(batch: usize, tokens: usize) -> Case {
    let shape = vec![batch, tokens, tokens];
    Case {
        name: format!("rollout_product {shape:?}"),
        kernel: "rollout_product",
        inputs: vec![(shape.clone(), Within(1.0)), (shape.clone(), Within(1.0))],
        output: shape,
        record: Box::new(|recording, inputs, output| kernels::rollout_product(recording, "product".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (row, j) = (i / tokens, i % tokens);
                (0..tokens).map(|k| inputs[0][row * tokens + k] * inputs[1][(row / tokens * tokens + k) * tokens + j]).sum()
            };
            (0..batch * tokens * tokens).map(element).collect()
        }),
        terms: tokens,
        flops: 2 * (batch * tokens.pow(3)) as u64,
        ..Case::plain()
    }
}

/// One case per step of the principal components of tokens `[B, N, C]`, with patches starting at `first`.
fn components(shape: [usize; 3], first: usize) -> Vec<Case> {
    let [batch, tokens, width] = shape;
    let patches = tokens - first;
    let [x, mean, v, y] = [shape.to_vec(), vec![batch, width], vec![batch, width, BLOCK], vec![batch, patches, BLOCK]];
    let name = |kernel: &str| format!("{kernel} {shape:?} from {first} on");
    let flops = 2 * (batch * patches * width * BLOCK) as u64;
    let centred = move |inputs: &[Vec<f64>], b: usize, p: usize, c: usize| inputs[0][(b * tokens + first + p) * width + c] - inputs[1][b * width + c];
    let start = Case {
        name: name("pca_start"),
        kernel: "pca_start",
        inputs: vec![(x.clone(), Within(1.0)), (mean.clone(), Within(1.0))],
        output: v.clone(),
        record: Box::new(move |recording, inputs, output| kernels::pca_start(recording, "start".into(), [inputs[0], inputs[1], output], first)),
        reference: Box::new(move |inputs| {
            let element = |i: usize| centred(inputs, i / (width * BLOCK), i % BLOCK * patches / BLOCK, i / BLOCK % width);
            (0..batch * width * BLOCK).map(element).collect()
        }),
        terms: 1,
        flops: (batch * width * BLOCK) as u64,
        ..Case::plain()
    };
    let project = Case {
        name: name("pca_project"),
        kernel: "pca_project",
        inputs: vec![(x.clone(), Within(1.0)), (mean.clone(), Within(1.0)), (v.clone(), Within(1.0))],
        output: y.clone(),
        record: Box::new(move |recording, inputs, output| {
            kernels::pca_project(recording, "project".into(), [inputs[0], inputs[1], inputs[2], output], first)
        }),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (b, p, k) = (i / (patches * BLOCK), i / BLOCK % patches, i % BLOCK);
                (0..width).map(|c| centred(inputs, b, p, c) * inputs[2][(b * width + c) * BLOCK + k]).sum()
            };
            (0..batch * patches * BLOCK).map(element).collect()
        }),
        terms: width,
        flops,
        ..Case::plain()
    };
    let gather = Case {
        name: name("pca_gather"),
        kernel: "pca_gather",
        inputs: vec![(x, Within(1.0)), (mean, Within(1.0)), (y.clone(), Within(1.0))],
        output: v.clone(),
        record: Box::new(move |recording, inputs, output| {
            kernels::pca_gather(recording, "gather".into(), [inputs[0], inputs[1], inputs[2], output], first)
        }),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (b, c, k) = (i / (width * BLOCK), i / BLOCK % width, i % BLOCK);
                (0..patches).map(|p| centred(inputs, b, p, c) * inputs[2][(b * patches + p) * BLOCK + k]).sum()
            };
            (0..batch * width * BLOCK).map(element).collect()
        }),
        terms: patches,
        flops,
        ..Case::plain()
    };
    // Columns are overwritten in place, so they are first copied from an input, by pooling a single token.
    let orthonormalise = Case {
        name: name("pca_orthonormalise"),
        kernel: "pca_orthonormalise",
        inputs: vec![(vec![batch, 1, width * BLOCK], Within(1.0))],
        output: v.clone(),
        record: Box::new(|recording, inputs, output| {
            kernels::pool(recording, "copy".into(), inputs[0], 0..1, output, 0)?;
            kernels::pca_orthonormalise(recording, "orthonormalise".into(), output)
        }),
        reference: Box::new(move |inputs| inputs[0].chunks(width * BLOCK).flat_map(|columns| reference::orthonormalised(columns, BLOCK)).collect()),
        // Eight columns of few rows are nearly dependent, which amplifies errors.
        terms: 4 * width + 64 * BLOCK,
        flops: 2 * (batch * width * BLOCK * BLOCK) as u64,
        ..Case::plain()
    };
    let colours = Case {
        name: name("pca_colours"),
        kernel: "pca_colours",
        inputs: vec![(v, Within(1.0)), (y, Graded(1.0))],
        output: vec![batch, patches, 3],
        record: Box::new(|recording, inputs, output| kernels::pca_colours(recording, "colours".into(), [inputs[0], inputs[1], output])),
        reference: Box::new(move |inputs| {
            let images = inputs[0].chunks(width * BLOCK).zip(inputs[1].chunks(patches * BLOCK));
            images.flat_map(|(basis, scores)| reference::colours(basis, scores, BLOCK)).collect()
        }),
        terms: 64 * BLOCK + patches,
        flops,
        ..Case::plain()
    };
    // With fewer tokens than columns there are no eight independent directions, and the last ones are rounding noise.
    let wide_enough = |case: &Case| case.kernel != "pca_orthonormalise" || width > 2 * BLOCK;
    let many_enough = |case: &Case| case.kernel != "pca_colours" || patches > 2 * BLOCK;
    [start, project, gather, orthonormalise, colours].into_iter().filter(|case| wide_enough(case) && many_enough(case)).collect()
}
