//! The case table: for each kernel the shapes that it is tested on, with the brute-force result and the
//! tolerance. Correctness, ragged fuzz, mutants and benches iterate over it.

use super::reference::{self, wide};
use super::replay::poison;
use super::rng::Rng;
use vitraux::config::Activation;
use vitraux::kernels::{self, Epilogue};
use vitraux::record::{Buf, Limits, Recording};

type Record = Box<dyn Fn(&mut Recording, &[Buf], Buf) -> vitraux::Result<()>>;
type Reference = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64>>;

/// A call of a kernel on made-up data.
pub struct Case {
    /// What it is: the kernel and the shape.
    pub name: String,
    /// The kernel that it tests.
    pub kernel: &'static str,
    /// The shape of each input, and the range (-r to r) of its values.
    inputs: Vec<(Vec<usize>, f32)>,
    /// The shape of the result.
    pub output: Vec<usize>,
    record: Record,
    reference: Reference,
    /// How many products are added up for an element of the result: rounding grows with its root.
    terms: usize,
    /// Floating-point operations.
    pub flops: u64,
}

impl Case {
    /// The recording: the result is poisoned first, then computed, then saved.
    pub fn recording(&self, limits: Limits) -> vitraux::Result<Recording> {
        let mut recording = Recording::new(limits);
        let inputs = self.inputs.iter().enumerate().map(|(i, (shape, _))| recording.input(format!("input{i}"), shape));
        let inputs = inputs.collect::<vitraux::Result<Vec<_>>>()?;
        let output = recording.scratch("output", &self.output)?;
        poison(&mut recording, output);
        (self.record)(&mut recording, &inputs, output)?;
        recording.save("output", output);
        Ok(recording)
    }

    /// The inputs' values, always the same for a case.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(&self.name);
        let mut input = |(shape, range): &(Vec<usize>, f32)| rng.units(shape.iter().product()).iter().map(|value| value * range).collect();
        self.inputs.iter().map(&mut input).collect()
    }

    /// The result in f64.
    pub fn expected(&self, values: &[Vec<f32>]) -> Vec<f64> {
        (self.reference)(&values.iter().map(|values| wide(values)).collect::<Vec<_>>())
    }

    /// Bytes that must be moved at least: each input and the result once.
    pub fn bytes(&self) -> u64 {
        let elements: usize = self.inputs.iter().map(|(shape, _)| shape).chain([&self.output]).map(|shape| shape.iter().product::<usize>()).sum();
        elements as u64 * 4
    }

    /// The bound on each element's error. The rounding errors of a sum of t terms in f32 add up like a
    /// random walk, to about sqrt(t) half units in the last place of the largest partial sum; 8 of those
    /// make room for the order of the sum, and 16 units more for exp, division and the epilogue.
    pub fn tolerance(&self, expected: &[f64]) -> f64 {
        let largest = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
        let tolerance = f64::from(f32::EPSILON) * largest * (16.0 + 4.0 * (self.terms as f64).sqrt());
        assert!(tolerance <= 1e-4 * largest, "{}: a tolerance of {tolerance} beside values of {largest} would hide errors", self.name);
        tolerance
    }
}

/// The fixed cases: every kernel, tiles met exactly, missed by one, and not filled; real sizes of models.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1, 1], [64, 64, 16], [65, 63, 17], [128, 64, 32], [5, 130, 3], [197, 192, 768], [1, 1000, 192], [33, 7, 269]] {
        cases.extend(matmuls(shape));
    }
    cases.extend([matmul_naive([1, 1, 1]), matmul_naive([65, 63, 17]), matmul_naive([10, 30, 100])]);
    cases.extend([
        patchify([2, 3, 32, 32], [16, 16], 64),
        patchify([1, 3, 35, 35], [7, 7], 160),
        patchify([3, 1, 40, 70], [8, 14], 65),
        patchify([1, 5, 29, 33], [8, 8], 10),
        patchify([1, 3, 4, 4], [4, 4], 1),
    ]);
    cases.extend([embed(2, 5, 1, 0, 48), embed(1, 16, 0, 0, 10), embed(3, 9, 1, 1, 33), embed(2, 20, 5, 4, 36), embed(1, 197, 1, 0, 192)]);
    cases.extend([layernorm(1, 1, 1e-6), layernorm(3, 64, 1e-6), layernorm(70, 65, 1e-12), layernorm(197, 768, 1e-6), layernorm(2, 30, 1e-5)]);
    for [batch, tokens, heads, head] in
        [[1, 2, 1, 16], [2, 65, 3, 16], [1, 64, 2, 64], [1, 33, 1, 72], [2, 26, 2, 80], [1, 130, 1, 128], [1, 17, 3, 10], [1, 1, 2, 8]]
    {
        cases.extend([attention(batch, tokens, heads, head, 1.0), probabilities(batch, tokens, heads, head), values(batch, tokens, heads, head)]);
    }
    // Scores up to some hundreds: exp overflows unless the maximum is subtracted.
    cases.push(attention(1, 40, 2, 16, 12.0));
    // A single score far below 0: exp underflows unless it is the maximum that is subtracted.
    cases.push(attention(2, 1, 4, 16, 20.0));
    cases.extend([pool(2, 5, 7, 0..1), pool(1, 197, 192, 1..197), pool(3, 9, 65, 2..9)]);
    cases.extend([softmax(1, 1, 1.0), softmax(3, 10, 5.0), softmax(2, 1000, 200.0), softmax(70, 65, 1.0)]);
    cases
}

/// Cases of shapes drawn at random, `count` of each kernel.
pub fn fuzzed(count: usize) -> Vec<Case> {
    let mut rng = Rng::new("ragged");
    let mut cases = Vec::new();
    for _ in 0..count {
        let mut size = |low, high| rng.between(low, high);
        cases.extend(matmuls([size(1, 140), size(1, 140), size(1, 140)]));
        cases.push(matmul_naive([size(1, 70), size(1, 70), size(1, 70)]));
        let patch = [size(1, 17), size(1, 17)];
        let image = [patch[0] * size(1, 5) + size(0, patch[0] - 1), patch[1] * size(1, 5) + size(0, patch[1] - 1)];
        cases.push(patchify([size(1, 3), size(1, 5), image[0], image[1]], patch, size(1, 140)));
        let prefix = size(0, 5);
        cases.push(embed(size(1, 3), prefix + size(1, 40), prefix, size(0, prefix), size(1, 90)));
        cases.push(layernorm(size(1, 90), size(2, 300), 1e-6));
        let [batch, tokens, heads, head] = [size(1, 3), size(2, 150), size(1, 4), size(1, 130)];
        cases.extend([attention(batch, tokens, heads, head, 1.0), probabilities(batch, tokens, heads, head), values(batch, tokens, heads, head)]);
        let (tokens, first) = (size(2, 50), size(0, 1));
        cases.push(pool(size(1, 4), tokens, size(1, 200), first..size(first + 1, tokens)));
        cases.push(softmax(size(1, 90), size(1, 300), 4.0));
    }
    cases
}

/// One case for each epilogue.
fn matmuls([m, n, k]: [usize; 3]) -> Vec<Case> {
    let activations = [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu, Activation::Tanh];
    let mut cases = vec![matmul("matmul_bias", [m, n, k], "bias", 0, |_, _| Epilogue::Bias, |sum, _, _| sum)];
    for activation in activations {
        let name = format!("{activation:?}");
        cases.push(matmul(
            "matmul_bias_activation",
            [m, n, k],
            &name,
            0,
            move |_, _| Epilogue::Activation(activation),
            move |sum, _, _| reference::activate(activation, sum),
        ));
    }
    cases.push(matmul("matmul_bias_residual", [m, n, k], "residual", 1, |_, _| Epilogue::Residual, |sum, before, _| before + sum));
    let scaled = |_: &mut Recording, inputs: &[Buf]| Epilogue::ScaledResidual(inputs[5]);
    cases.push(matmul("matmul_bias_scale_residual", [m, n, k], "scaled residual", 2, scaled, |sum, before, scale| before + scale * sum));
    cases
}

/// A product whose result, for the residual epilogues, begins as another product: inputs 3 and 4 are its
/// factors of depth 1, and input 5 the scale. `extras` says how much of that the epilogue needs.
fn matmul(
    kernel: &'static str,
    [m, n, k]: [usize; 3],
    what: &str,
    extras: usize,
    epilogue: impl Fn(&mut Recording, &[Buf]) -> Epilogue + 'static,
    finish: impl Fn(f64, f64, f64) -> f64 + 'static,
) -> Case {
    // Values that keep sums near 1, so that activations are tested where they bend.
    let range = (3.0 / (k as f32).sqrt()).min(1.0).sqrt() * 1.5;
    let mut inputs = vec![(vec![m, k], range), (vec![n, k], range), (vec![n], 1.0)];
    if extras > 0 {
        inputs.extend([(vec![m, 1], 1.0), (vec![n, 1], 1.0)]);
    }
    if extras > 1 {
        inputs.push((vec![n], 1.0));
    }
    Case {
        name: format!("{kernel} {what} {m}x{n}x{k}"),
        kernel,
        inputs,
        output: vec![m, n],
        record: Box::new(move |recording, inputs, output| {
            let bias = inputs[2];
            if extras > 0 {
                kernels::matmul(recording, "before".into(), inputs[3], [inputs[4], bias], Epilogue::Bias, output)?;
            }
            let epilogue = epilogue(recording, inputs);
            kernels::matmul(recording, kernel.into(), inputs[0], [inputs[1], bias], epilogue, output)
        }),
        reference: Box::new(move |inputs| {
            let sums = reference::matmul(&inputs[0], &inputs[1], &inputs[2], [m, n, k]);
            let before = if extras > 0 { reference::matmul(&inputs[3], &inputs[4], &inputs[2], [m, n, 1]) } else { vec![0.0; m * n] };
            let scale = |i: usize| if extras > 1 { inputs[5][i % n] } else { 1.0 };
            (0..m * n).map(|i| finish(sums[i], before[i], scale(i))).collect()
        }),
        terms: k,
        flops: 2 * (m * n * k) as u64,
    }
}

fn matmul_naive([m, n, k]: [usize; 3]) -> Case {
    Case {
        name: format!("matmul_naive {m}x{n}x{k}"),
        kernel: "matmul_naive",
        inputs: vec![(vec![m, k], 1.0), (vec![n, k], 1.0), (vec![n], 1.0)],
        output: vec![m, n],
        record: Box::new(|recording, inputs, output| kernels::matmul_naive(recording, "naive".into(), inputs[0], [inputs[1], inputs[2]], output)),
        reference: Box::new(move |inputs| reference::matmul(&inputs[0], &inputs[1], &inputs[2], [m, n, k])),
        terms: k,
        flops: 2 * (m * n * k) as u64,
    }
}

fn patchify(image: [usize; 4], patch: [usize; 2], width: usize) -> Case {
    let [batch, channels, height, image_width] = image;
    let count = (height / patch[0]) * (image_width / patch[1]);
    let values = channels * patch[0] * patch[1];
    Case {
        name: format!("patchify {image:?} by {patch:?} to {width}"),
        kernel: "patchify",
        inputs: vec![(image.to_vec(), 1.0), (vec![width, values], 1.0), (vec![width], 1.0)],
        output: vec![batch, count, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::patchify(recording, "patchify".into(), inputs[0], [inputs[1], inputs[2]], patch, output)
        }),
        reference: Box::new(move |inputs| {
            let rows = reference::patches(&inputs[0], image, patch);
            reference::matmul(&rows, &inputs[1], &inputs[2], [batch * count, width, values])
        }),
        terms: values,
        flops: 2 * (batch * count * width * values) as u64,
    }
}

fn embed(batch: usize, tokens: usize, prefix: usize, skip: usize, width: usize) -> Case {
    Case {
        name: format!("embed {batch} x {tokens} tokens, {prefix} in front, {skip} without position, width {width}"),
        kernel: "embed",
        inputs: vec![(vec![batch, tokens - prefix, width], 1.0), (vec![prefix.max(1), width], 1.0), (vec![tokens - skip, width], 1.0)],
        output: vec![batch, tokens, width],
        record: Box::new(|recording, inputs, output| kernels::embed(recording, "embed".into(), inputs[0], inputs[1], inputs[2], output)),
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
    }
}

fn layernorm(rows: usize, width: usize, epsilon: f32) -> Case {
    Case {
        name: format!("layernorm {rows}x{width} {epsilon:e}"),
        kernel: "layernorm",
        inputs: vec![(vec![rows, width], 3.0), (vec![width], 1.0), (vec![width], 1.0)],
        output: vec![rows, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::layernorm(recording, "norm".into(), inputs[0], [inputs[1], inputs[2]], output, epsilon)
        }),
        reference: Box::new(move |inputs| reference::layernorm(&inputs[0], &inputs[1], &inputs[2], f64::from(epsilon))),
        terms: width,
        flops: 7 * (rows * width) as u64,
    }
}

fn attention(batch: usize, tokens: usize, heads: usize, head: usize, range: f32) -> Case {
    let sizes = [batch, tokens, heads, head];
    Case {
        name: format!("attention {sizes:?} within {range}"),
        kernel: "attention",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], range)],
        output: vec![batch, tokens, heads * head],
        record: Box::new(move |recording, inputs, output| kernels::attention(recording, "attention".into(), inputs[0], heads, output)),
        reference: Box::new(move |inputs| reference::weighted_values(&inputs[0], &reference::probabilities(&inputs[0], sizes), sizes)),
        // An error of the score is an error of its exponential as many times as large as the scores are.
        terms: (head as f32 * range.powi(2)) as usize + tokens,
        flops: 4 * (batch * heads * tokens * tokens * head) as u64,
    }
}

fn probabilities(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
    let sizes = [batch, tokens, heads, head];
    Case {
        name: format!("attention_naive_probabilities {sizes:?}"),
        kernel: "attention_naive_probabilities",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], 1.5)],
        output: vec![batch, heads, tokens, tokens],
        record: Box::new(|recording, inputs, output| kernels::attention_naive_probabilities(recording, "probabilities".into(), inputs[0], output)),
        reference: Box::new(move |inputs| reference::probabilities(&inputs[0], sizes)),
        terms: head + tokens,
        flops: 2 * (batch * heads * tokens * tokens * head) as u64,
    }
}

fn values(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
    let sizes = [batch, tokens, heads, head];
    Case {
        name: format!("attention_naive_values {sizes:?}"),
        kernel: "attention_naive_values",
        inputs: vec![(vec![batch, tokens, 3 * heads * head], 1.0), (vec![batch, heads, tokens, tokens], 1.0)],
        output: vec![batch, tokens, heads * head],
        record: Box::new(|recording, inputs, output| kernels::attention_naive_values(recording, "values".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| reference::weighted_values(&inputs[0], &inputs[1], sizes)),
        terms: tokens,
        flops: 2 * (batch * heads * tokens * tokens * head) as u64,
    }
}

fn pool(batch: usize, tokens: usize, width: usize, range: std::ops::Range<usize>) -> Case {
    let mean = range.clone();
    Case {
        name: format!("pool {batch}x{tokens}x{width} over {range:?}"),
        kernel: "pool",
        inputs: vec![(vec![batch, tokens, width], 1.0)],
        output: vec![batch, width],
        record: Box::new(move |recording, inputs, output| kernels::pool(recording, "pool".into(), inputs[0], range.clone(), output)),
        reference: Box::new(move |inputs| {
            let element = |i: usize| {
                let sum: f64 = mean.clone().map(|n| inputs[0][(i / width * tokens + n) * width + i % width]).sum();
                sum / mean.len() as f64
            };
            (0..batch * width).map(element).collect()
        }),
        terms: tokens,
        flops: (batch * tokens * width) as u64,
    }
}

fn softmax(rows: usize, width: usize, range: f32) -> Case {
    Case {
        name: format!("softmax {rows}x{width} within {range}"),
        kernel: "softmax",
        inputs: vec![(vec![rows, width], range)],
        output: vec![rows, width],
        record: Box::new(|recording, inputs, output| kernels::softmax(recording, "softmax".into(), inputs[0], output)),
        reference: Box::new(move |inputs| reference::softmax(&inputs[0], width)),
        terms: width + range as usize,
        flops: 4 * (rows * width) as u64,
    }
}
