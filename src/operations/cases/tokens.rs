//! Cases of elementwise and pooling kernels on tokens and feature maps.

use super::Fill::{Below, Left, Within};
use super::poison::copy;
use super::{Case, reference};
use crate::data::config::Activation;
use crate::operations::kernels;

pub(super) fn embed(batch: usize, tokens: usize, prefix: usize, skip: usize, width: usize) -> Case {
    Case {
        name: format!("embed {batch} x {tokens} tokens, {prefix} in front, {skip} without position, width {width}"),
        kernel: "embed",
        inputs: vec![
            (vec![batch, tokens - prefix, width], Within(1.0)),
            (vec![prefix.max(1), width], Within(1.0)),
            (vec![(tokens - skip).max(1), width], Within(1.0)),
        ],
        output: vec![batch, tokens, width],
        record: Box::new(move |recording, inputs, output| {
            let (front, positions) = ((prefix > 0).then_some(inputs[1]), (tokens > skip).then_some(inputs[2]));
            kernels::embed(recording, "embed".into(), inputs[0], front, positions, output)
        }),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (b, n, c) = (i / (tokens * width), i / width % tokens, i % width);
                let token = if n < prefix { inputs[1][n * width + c] } else { inputs[0][(b * (tokens - prefix) + n - prefix) * width + c] };
                if n < skip { token } else { token + inputs[2][(n - skip) * width + c] }
            };
            (0..batch * tokens * width).map(element).collect()
        }),
        terms: 1,
        flops: (batch * tokens * width) as u64,
        ..Case::plain()
    }
}

/// The mean, written to each of `columns` side-by-side columns.
pub(super) fn pool(batch: usize, tokens: usize, width: usize, range: std::ops::Range<usize>, columns: usize) -> Case {
    let mean = range.clone();
    Case {
        name: format!("pool {batch}x{tokens}x{width} over {range:?} into {columns}"),
        kernel: "pool",
        inputs: vec![(vec![batch, tokens, width], Within(1.0))],
        output: vec![batch, columns * width],
        record: Box::new(move |recording, inputs, output| {
            (0..columns).try_for_each(|column| kernels::pool(recording, "pool".into(), inputs[0], range.clone(), output, column * width))
        }),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (b, c) = (i / (columns * width), i % width);
                let sum: f64 = mean.clone().map(|n| inputs[0][(b * tokens + n) * width + c]).sum();
                sum / mean.len() as f64
            };
            (0..batch * columns * width).map(element).collect()
        }),
        terms: tokens,
        flops: (batch * tokens * width) as u64,
        ..Case::plain()
    }
}

/// One token of each sequence, at varying places.
pub(super) fn gather(batch: usize, tokens: usize, width: usize) -> Case {
    Case {
        name: format!("gather {batch}x{tokens}x{width}"),
        kernel: "gather",
        inputs: vec![(vec![batch, tokens, width], Within(1.0)), (vec![batch], Below(tokens))],
        output: vec![batch, width],
        record: Box::new(|recording, inputs, output| kernels::gather(recording, "gather".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| {
            inputs[1].iter().enumerate().flat_map(|(b, n)| inputs[0][(b * tokens + *n as usize) * width..][..width].to_vec()).collect()
        }),
        terms: 1,
        flops: (batch * width) as u64,
        ..Case::plain()
    }
}

/// The maximum over a range of tokens.
pub(super) fn pool_max(batch: usize, tokens: usize, width: usize, range: std::ops::Range<usize>) -> Case {
    let of = range.clone();
    Case {
        name: format!("pool_max {batch}x{tokens}x{width} over {range:?}"),
        kernel: "pool_max",
        record: Box::new(move |recording, inputs, output| kernels::pool_max(recording, "pool".into(), inputs[0], range.clone(), output)),
        reference: Box::new(move |inputs| {
            let value = |b: usize, c: usize| of.clone().map(|n| inputs[0][(b * tokens + n) * width + c]).fold(f64::NEG_INFINITY, f64::max);
            (0..batch * width).map(|i| value(i / width, i % width)).collect()
        }),
        ..pool(batch, tokens, width, 0..1, 1)
    }
}

pub(super) fn accumulate(len: usize) -> Case {
    Case {
        name: format!("accumulate {len}"),
        kernel: "accumulate",
        inputs: vec![(vec![len], Within(2.0)), (vec![len], Left(2.0))],
        output: vec![len],
        record: Box::new(|recording, inputs, output| {
            copy(recording, inputs[1], output);
            kernels::accumulate(recording, "accumulate".into(), inputs[0], output)
        }),
        reference: Box::new(|inputs| inputs[0].iter().zip(&inputs[1]).map(|(a, b)| a + b).collect()),
        terms: 1,
        flops: len as u64,
        ..Case::plain()
    }
}

pub(super) fn max_pool(map: [usize; 4], size: usize, stride: usize) -> Case {
    let output = [map[0], map[1], map[2].div_ceil(stride), map[3].div_ceil(stride)];
    Case {
        name: format!("max_pool {map:?} by {size} / {stride}"),
        kernel: "max_pool",
        inputs: vec![(map.to_vec(), Within(1.0))],
        output: output.to_vec(),
        record: Box::new(move |recording, inputs, output| kernels::max_pool(recording, "max_pool".into(), inputs[0], [size, stride], output)),
        reference: Box::new(move |inputs| reference::max_pool(&inputs[0], map, [size, stride])),
        terms: 1,
        flops: (output.iter().product::<usize>() * size * size) as u64,
        ..Case::plain()
    }
}

pub(super) fn gate(rows: usize, width: usize, activation: Activation, range: f32) -> Case {
    Case {
        name: format!("gate {activation:?} {rows}x{width} within {range}"),
        kernel: "gate",
        inputs: vec![(vec![rows, 2 * width], Left(range))],
        output: vec![rows, width],
        record: Box::new(move |recording, inputs, output| kernels::gate(recording, "gate".into(), inputs[0], activation, output)),
        reference: Box::new(move |inputs| {
            let pair = |i: usize| (inputs[0][i / width * 2 * width + i % width], inputs[0][i / width * 2 * width + width + i % width]);
            (0..rows * width).map(|i| reference::activate(activation, pair(i).0) * pair(i).1).collect()
        }),
        terms: 1,
        flops: 6 * (rows * width) as u64,
        ..Case::plain()
    }
}

pub(super) fn average(len: usize) -> Case {
    Case {
        name: format!("average {len}"),
        kernel: "average",
        inputs: vec![(vec![len], Within(2.0)), (vec![len], Within(2.0))],
        output: vec![len],
        record: Box::new(|recording, inputs, output| kernels::average(recording, "average".into(), [inputs[0], inputs[1]], output)),
        reference: Box::new(|inputs| inputs[0].iter().zip(&inputs[1]).map(|(a, b)| (a + b) / 2.0).collect()),
        terms: 1,
        flops: 2 * len as u64,
        ..Case::plain()
    }
}
