//! Cases of the kernels of dense heads, on channels-last maps.

use super::Fill::{Factor, Left, Within};
use super::{Case, of_all_devices, reference};
use crate::data::capabilities::Precision;
use crate::data::config::{Activation, Readout};
use crate::operations::kernels::matmul::conv3x3::VARIANTS;
use crate::operations::kernels::matmul::variants::{Sizes, ranked};
use crate::operations::kernels::{self, Alignment, Epilogue, Onto, Reading};

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (map, outputs, stride) in
        [([2, 5, 7, 4], 64, 1), ([1, 9, 8, 12], 68, 2), ([1, 1, 1, 8], 4, 1), ([3, 6, 4, 5], 3, 3), ([1, 20, 13, 36], 100, 1)]
    {
        cases.extend(convolutions(map, outputs, stride));
    }
    for (from, to) in [([2, 4, 3, 5], [8, 6]), ([1, 2, 2, 12], [4, 3]), ([3, 1, 1, 3], [1, 5]), ([1, 7, 9, 64], [5, 4]), ([1, 5, 6, 2], [9, 1])] {
        cases.extend(resizes(from, to));
    }
    cases.extend([[2, 3, 5, 1], [1, 7, 64, 4], [1, 1, 1, 1], [4, 2, 3, 33]].map(swap));
    cases.push(swap([2, 9, 8, 3]).in_f16());
    for readout in [Readout::Ignore, Readout::Add, Readout::Project] {
        cases.extend([readouts([2, 10, 36], 1, readout), readouts([1, 65, 20], 1, readout), readouts([3, 9, 5], 4, readout).in_f16()]);
    }
    for (activation, scale) in [(Activation::Relu, 1.0), (Activation::Sigmoid, 20.0)] {
        cases.extend([depth(1, 1, activation, scale), depth(70, 32, activation, scale), depth(2050, 10, activation, scale)]);
    }
    cases
}

/// Cases for a map `[B, height, width, channels]`.
pub fn of_map(map: [usize; 4], outputs: usize, stride: usize, to: [usize; 2]) -> Vec<Case> {
    let [batch, height, width, channels] = map;
    let mut cases = convolutions(map, outputs, stride);
    cases.extend(resizes(map, to));
    cases.extend([swap(map), depth(batch * height * width, channels, Activation::Sigmoid, 2.0)]);
    cases.push(readouts([batch, height * width + 1, channels], 1, Readout::Project));
    cases
}

/// Cases for each variant.
fn convolutions(map: [usize; 4], outputs: usize, stride: usize) -> Vec<Case> {
    let [batch, height, width, channels] = map;
    let (f32, f16) = (Precision::F32, Precision::F16);
    let mut cases = Vec::new();
    for [x, w] in [[f32, f32], [f32, f16], [f16, f16]] {
        let sizes = Sizes { m: batch * height * width, n: outputs, k: 9 * channels, x, w };
        for variant in of_all_devices(|device| ranked(&VARIANTS, &sizes, device)) {
            let kernel = variant.kernel.name;
            for is_rectified in [false, true] {
                let case = convolution(kernel, map, outputs, Reading { stride, is_rectified });
                cases.push(Case { precision: w, activations: x, written: x, ..case });
            }
        }
    }
    cases
}

/// With a ReLU before it, and a sum with what the result holds; or with neither, but an activation.
fn convolution(kernel: &'static str, map: [usize; 4], outputs: usize, reading: Reading) -> Case {
    let [batch, height, width, channels] = map;
    let Reading { stride, is_rectified } = reading;
    let output = [batch, reading.windows(height), reading.windows(width), outputs];
    let values = 9 * channels;
    let range = (3.0 / (values as f32).sqrt()).min(1.0).sqrt() * 1.5;
    let kept = (vec![batch, output[1], output[2], outputs], Left(1.0));
    Case {
        name: format!("{kernel} {map:?} to {outputs} / {stride}, {}", if is_rectified { "rectified, sum" } else { "ReLU" }),
        kernel,
        inputs: vec![(map.to_vec(), Left(range)), (vec![outputs, values], Factor(range)), (vec![outputs], Within(1.0)), kept],
        output: output.to_vec(),
        record: Box::new(move |recording, inputs, output| {
            let axes = [1, 1, 1, recording.all(output).len];
            let factors = [inputs[1], inputs[2]];
            let epilogue = if is_rectified { Epilogue::Residual } else { Epilogue::Activation(Activation::Relu) };
            kernels::swap(recording, "kept".into(), inputs[3], axes, output)?;
            recording.prefer(kernel);
            kernels::conv3x3(recording, "convolution".into(), inputs[0], factors, reading, epilogue, output)
        }),
        reference: Box::new(move |inputs| {
            let least = if is_rectified { 0.0 } else { f64::NEG_INFINITY };
            let x: Vec<f64> = inputs[0].iter().map(|value| value.max(least)).collect();
            let sums = reference::conv3x3(&x, map, &inputs[1], outputs, stride);
            let finish = |(i, sum): (usize, &f64)| {
                let value = sum + inputs[2][i % outputs];
                if is_rectified { inputs[3][i] + value } else { value.max(0.0) }
            };
            sums.iter().enumerate().map(finish).collect()
        }),
        terms: values,
        flops: 2 * (output.iter().product::<usize>() * values) as u64,
        ..Case::plain()
    }
}

fn resizes(from: [usize; 4], to: [usize; 2]) -> Vec<Case> {
    let [corners, edges] = [Alignment::Corners, Alignment::Edges];
    vec![resize(from, to, corners, Onto::Nothing), resize(from, to, edges, Onto::Nothing), resize(from, to, corners, Onto::Sum).in_f16()]
}

fn resize(from: [usize; 4], to: [usize; 2], alignment: Alignment, onto: Onto) -> Case {
    let output = vec![from[0], to[0], to[1], from[3]];
    Case {
        name: format!("resize {from:?} to {to:?} by {alignment:?} onto {onto:?}"),
        kernel: "resize",
        inputs: vec![(from.to_vec(), Left(1.0)), (output.clone(), Left(1.0))],
        output,
        record: Box::new(move |recording, inputs, output| {
            let axes = [1, 1, 1, recording.all(output).len];
            kernels::swap(recording, "kept".into(), inputs[1], axes, output)?;
            kernels::resize(recording, "resize".into(), inputs[0], alignment, onto, output)
        }),
        reference: Box::new(move |inputs| {
            let resized = reference::bilinear(&inputs[0], from, to, alignment == Alignment::Corners);
            let kept = if onto == Onto::Sum { 1.0 } else { 0.0 };
            resized.iter().zip(&inputs[1]).map(|(value, before)| value + kept * before).collect()
        }),
        terms: 4,
        flops: 8 * (from[0] * to[0] * to[1] * from[3]) as u64,
        ..Case::plain()
    }
}

fn swap(axes: [usize; 4]) -> Case {
    let [outer, r, s, inner] = axes;
    Case {
        name: format!("swap {axes:?}"),
        kernel: "swap",
        inputs: vec![(axes.to_vec(), Left(1.0))],
        output: vec![outer, s, r, inner],
        record: Box::new(move |recording, inputs, output| kernels::swap(recording, "swap".into(), inputs[0], axes, output)),
        reference: Box::new(move |inputs| {
            let element = |element: usize| {
                let (i, row, column, o) = (element % inner, element / inner % r, element / (inner * r) % s, element / (inner * r * s));
                inputs[0][((o * r + row) * s + column) * inner + i]
            };
            (0..outer * r * s * inner).map(element).collect()
        }),
        terms: 1,
        flops: axes.iter().product::<usize>() as u64,
        ..Case::plain()
    }
}

fn readouts([batch, tokens, channels]: [usize; 3], skip: usize, readout: Readout) -> Case {
    let (patches, width) = (tokens - skip, if readout == Readout::Project { 2 * channels } else { channels });
    Case {
        name: format!("readout {batch}x{tokens}x{channels} from {skip} on, {readout:?}"),
        kernel: "readout",
        inputs: vec![(vec![batch, tokens, channels], Left(1.0))],
        output: vec![batch, patches, width],
        record: Box::new(move |recording, inputs, output| kernels::readout(recording, "readout".into(), inputs[0], skip, readout, output)),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let (c, p, b) = (i % width, i / width % patches, i / (width * patches));
                let token = |n: usize| inputs[0][(b * tokens + n) * channels + c % channels];
                match readout {
                    Readout::Add => token(skip + p) + token(0),
                    Readout::Project if c >= channels => token(0),
                    Readout::Project | Readout::Ignore => token(skip + p),
                }
            };
            (0..batch * patches * width).map(element).collect()
        }),
        terms: 1,
        flops: (batch * patches * width) as u64,
        ..Case::plain()
    }
}

fn depth(pixels: usize, channels: usize, activation: Activation, scale: f32) -> Case {
    Case {
        name: format!("depth {pixels}x{channels}, {scale} times {activation:?}"),
        kernel: "depth",
        inputs: vec![(vec![pixels, channels], Left(1.0)), (vec![channels], Within(1.0)), (vec![1], Within(1.0))],
        output: vec![pixels],
        record: Box::new(move |recording, inputs, output| {
            kernels::depth(recording, "depth".into(), inputs[0], [inputs[1], inputs[2]], (activation, scale), output)
        }),
        reference: Box::new(move |inputs| {
            let sums = reference::matmul(&inputs[0], &inputs[1], &inputs[2], [pixels, 1, channels]);
            sums.into_iter().map(|sum| f64::from(scale) * reference::activate(activation, sum)).collect()
        }),
        terms: channels,
        flops: 2 * (pixels * channels) as u64,
        ..Case::plain()
    }
}
