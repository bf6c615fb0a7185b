//! Cases of normalisation over rows, feature maps and heads, and of rotary embeddings.

use super::Fill::{self, Left, Within};
use super::poison::copy;
use super::{Case, reference};
use crate::data::record::{Buf, Recording};
use crate::operations::kernels::{self, After, Pairs};

/// LayerNorm and RMSNorm with each variant.
pub(super) fn layernorm(rows: usize, width: usize, epsilon: f32) -> Vec<Case> {
    let of_rms = |kernel| Case {
        name: format!("{kernel} {rows}x{width} {epsilon:e}"),
        kernel,
        inputs: vec![(vec![rows, width], Within(3.0)), (vec![width], Within(1.0))],
        output: vec![rows, width],
        record: Box::new(move |recording, inputs, output| kernels::rmsnorm(recording, "norm".into(), inputs[0], inputs[1], output, epsilon)),
        reference: Box::new(move |inputs| reference::rmsnorm(&inputs[0], &inputs[1], f64::from(epsilon))),
        terms: width,
        flops: 4 * (rows * width) as u64,
        ..Case::plain()
    };
    let case = |kernel| Case {
        name: format!("{kernel} {rows}x{width} {epsilon:e}"),
        kernel,
        inputs: vec![(vec![rows, width], Within(3.0)), (vec![width], Within(1.0)), (vec![width], Within(1.0))],
        output: vec![rows, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::layernorm(recording, "norm".into(), inputs[0], [inputs[1], inputs[2]], output, epsilon)
        }),
        reference: Box::new(move |inputs| reference::layernorm(&inputs[0], &inputs[1], &inputs[2], f64::from(epsilon))),
        terms: width,
        flops: 7 * (rows * width) as u64,
        ..Case::plain()
    };
    let mut cases = vec![case("layernorm"), of_rms("rmsnorm")];
    if width.is_multiple_of(4) {
        cases.extend([case("layernorm_subgroup"), of_rms("rmsnorm_subgroup")]);
    }
    cases.extend([case("layernorm").in_f16(), of_rms("rmsnorm").in_f16()]);
    cases
}

/// One case per epilogue. For the residual one, the result is initialised with the fourth input, by a 1 × 1 max pool.
pub(super) fn groupnorms(map: [usize; 4], groups: usize) -> Vec<Case> {
    let [_, channels, height, width] = map;
    let of = |kernel: &'static str, after: After, finish: fn(f64, f64) -> f64| Case {
        name: format!("{kernel} {map:?} in {groups}"),
        kernel,
        inputs: vec![(map.to_vec(), Within(3.0)), (vec![channels], Within(1.0)), (vec![channels], Within(1.0)), (map.to_vec(), Within(1.0))],
        output: map.to_vec(),
        record: Box::new(move |recording, inputs, output| {
            kernels::max_pool(recording, "before".into(), inputs[3], [1, 1], output)?;
            kernels::groupnorm(recording, "groupnorm".into(), inputs[0], [inputs[1], inputs[2]], groups, after, output)
        }),
        reference: Box::new(move |inputs| {
            let normal = reference::groupnorm(&inputs[0], map, &inputs[1], &inputs[2], groups);
            normal.into_iter().zip(&inputs[3]).map(|(value, before)| finish(value, *before)).collect()
        }),
        terms: channels / groups * height * width,
        flops: 8 * map.iter().product::<usize>() as u64,
        ..Case::plain()
    };
    vec![
        of("groupnorm", After::Nothing, |value, _| value),
        of("groupnorm_relu", After::Relu, |value, _| value.max(0.0)),
        of("groupnorm_residual_relu", After::ResidualRelu, |value, before| (value + before).max(0.0)),
    ]
}

/// Case of an in-place kernel on packed qkv, initialised with the first input.
pub(super) fn in_place(
    kernel: &'static str,
    [batch, tokens, heads, head]: [usize; 4],
    what: String,
    more: Vec<(Vec<usize>, Fill)>,
    record: impl Fn(&mut Recording, &[Buf], Buf) -> crate::data::error::Result<()> + 'static,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64> + 'static,
) -> Case {
    let shape = vec![batch, tokens, 3 * heads * head];
    Case {
        name: format!("{kernel} [{batch}, {tokens}, {heads}, {head}]{what}"),
        kernel,
        inputs: [vec![(shape.clone(), Left(1.0))], more].concat(),
        output: shape.clone(),
        record: Box::new(move |recording, inputs, output| {
            copy(recording, inputs[0], output);
            record(recording, &inputs[1..], output)
        }),
        reference: Box::new(reference),
        terms: head,
        flops: 8 * shape.iter().product::<usize>() as u64,
        ..Case::plain()
    }
}

pub(super) fn qk_norm(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
    let sizes = [batch, tokens, heads, head];
    in_place(
        "qk_norm",
        sizes,
        String::new(),
        vec![(vec![head], Within(1.0)); 4],
        move |recording, inputs, qkv| kernels::qk_norm(recording, "qk_norm".into(), qkv, [inputs[0], inputs[1]], [inputs[2], inputs[3]], heads, 1e-6),
        move |inputs| {
            let mut result = inputs[0].clone();
            for (i, vector) in result.chunks_mut(head).enumerate() {
                if let part @ (0 | 1) = i / heads % 3 {
                    vector.copy_from_slice(&reference::layernorm(vector, &inputs[1 + 2 * part], &inputs[2 + 2 * part], 1e-6));
                }
            }
            result
        },
    )
}

pub(super) fn qk_rmsnorm(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
    in_place(
        "qk_rmsnorm",
        [batch, tokens, heads, head],
        String::new(),
        vec![(vec![head], Within(1.0)); 2],
        move |recording, inputs, qkv| kernels::qk_rmsnorm(recording, "qk_rmsnorm".into(), qkv, [inputs[0], inputs[1]], heads, 1e-6),
        move |inputs| {
            let mut result = inputs[0].clone();
            for (i, vector) in result.chunks_mut(head).enumerate() {
                if let part @ (0 | 1) = i / heads % 3 {
                    vector.copy_from_slice(&reference::rmsnorm(vector, &inputs[1 + part], 1e-6));
                }
            }
            result
        },
    )
}

/// Cosines and sines are arbitrary values that need not belong to the same angle.
pub(super) fn rotary(batch: usize, tokens: usize, skip: usize, heads: usize, head: usize) -> Vec<Case> {
    let of = |(pairs, turns)| rotary_by(batch, tokens, skip, [heads, head], pairs, turns);
    vec![of((Pairs::Halves, 1)), of((Pairs::Neighbours, 1)), of((Pairs::Neighbours, heads))]
}

/// Angles differ between `turns` heads.
fn rotary_by(batch: usize, tokens: usize, skip: usize, [heads, head]: [usize; 2], pairs: Pairs, turns: usize) -> Case {
    in_place(
        "rotary",
        [batch, tokens, heads, head],
        format!(" without {skip}, {pairs:?} with {turns}"),
        vec![(vec![tokens - skip, turns, head / 2, 2], Within(1.0))],
        move |recording, inputs, qkv| kernels::rotary(recording, "rotary".into(), qkv, inputs[0], heads, pairs),
        move |inputs| {
            let mut result = inputs[0].clone();
            for (i, vector) in result.chunks_mut(head).enumerate() {
                let (part, n) = (i / heads % 3, i / (3 * heads) % tokens);
                if part == 2 || n < skip {
                    continue;
                }
                let before = vector.to_vec();
                for j in 0..head / 2 {
                    let turn = if turns == 1 { 0 } else { i % heads };
                    let angle = &inputs[1][(((n - skip) * turns + turn) * head / 2 + j) * 2..][..2];
                    let [a, b] = match pairs {
                        Pairs::Halves => [j, j + head / 2],
                        Pairs::Neighbours => [2 * j, 2 * j + 1],
                    };
                    vector[a] = before[a] * angle[0] - before[b] * angle[1];
                    vector[b] = before[b] * angle[0] + before[a] * angle[1];
                }
            }
            result
        },
    )
}

pub(super) fn l2_normalize(rows: usize, width: usize) -> Case {
    Case {
        name: format!("l2_normalize {rows}x{width}"),
        kernel: "l2_normalize",
        inputs: vec![(vec![rows, width], Within(4.0))],
        output: vec![rows, width],
        record: Box::new(|recording, inputs, output| kernels::l2_normalize(recording, "l2_normalize".into(), inputs[0], output)),
        reference: Box::new(move |inputs| {
            let length = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
            inputs[0].chunks(width).flat_map(|row| row.iter().map(move |value| value / length(row))).collect()
        }),
        terms: width,
        flops: 3 * (rows * width) as u64,
        ..Case::plain()
    }
}

pub(super) fn softmax(rows: usize, width: usize, range: f32) -> Case {
    Case {
        name: format!("softmax {rows}x{width} within {range}"),
        kernel: "softmax",
        inputs: vec![(vec![rows, width], Within(range))],
        output: vec![rows, width],
        record: Box::new(|recording, inputs, output| kernels::softmax(recording, "softmax".into(), inputs[0], output)),
        reference: Box::new(move |inputs| reference::softmax(&inputs[0], width)),
        terms: width + range as usize,
        flops: 4 * (rows * width) as u64,
        ..Case::plain()
    }
}
