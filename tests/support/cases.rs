//! The case table: for each kernel the shapes that it is tested on, with the brute-force result and the
//! tolerance. Correctness, ragged fuzz, mutants and benches iterate over it.

mod maps;

use super::reference::{self, wide};
use super::replay::poison;
use super::rng::Rng;
use vitraux::capabilities::{Capabilities, Needs, Precision};
use vitraux::config::Activation;
use vitraux::kernels::{self, ALL, After, Epilogue};
use vitraux::panels::Packed;
use vitraux::record::{Buf, Recording};

type Record = Box<dyn Fn(&mut Recording, &[Buf], Buf) -> vitraux::Result<()>>;
type Reference = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64>>;

/// A call of a kernel on made-up data.
pub struct Case {
    /// What it is: the kernel and the shape.
    pub name: String,
    /// The kernel that it tests.
    pub kernel: &'static str,
    /// The shape and the contents of each input.
    inputs: Vec<(Vec<usize>, Fill)>,
    /// The shape of the result.
    pub output: Vec<usize>,
    record: Record,
    reference: Reference,
    /// How many products are added up for an element of the result: rounding grows with its root.
    terms: usize,
    /// Floating-point operations.
    pub flops: u64,
}

/// What an input is made of.
#[derive(Clone, Copy)]
enum Fill {
    /// Values from -r to r.
    Within(f32),
    /// The same in the left factor `[M, K]` of a product.
    Left(f32),
    /// The same in the right factor `[N, K]` of a product.
    Factor(f32),
    /// Values from -r to r, each column of the last axis half as large as the one before.
    Graded(f32),
    /// A mask `[B, N]`.
    Mask,
}
use Fill::{Factor, Graded, Left, Mask, Within};

/// 1 for about half of the tokens, but not for all of a sequence: a token of each, every time another one, stays.
fn mask(units: &[f32], tokens: usize) -> Vec<f32> {
    let ignored = |(i, unit): (usize, &f32)| f32::from(u8::from(*unit > 0.0 && i % tokens != i / tokens * 5 % tokens));
    units.iter().enumerate().map(ignored).collect()
}

fn graded(units: &[f32], range: f32, width: usize) -> Vec<f32> {
    units.iter().enumerate().map(|(i, unit)| unit * range * 0.5f32.powi((i % width) as i32)).collect()
}

impl Case {
    /// The recording: the result is poisoned first, then computed, then saved.
    pub fn recording(&self, capabilities: Capabilities) -> vitraux::Result<Recording> {
        let mut recording = Recording::new(capabilities).with_precision(self.precision());
        let input = |(i, (shape, fill)): (usize, &(Vec<usize>, Fill))| match (fill, shape.as_slice()) {
            (Factor(_), &[n, k]) => recording.input_factor(format!("input{i}"), [n, k]),
            _ => recording.input(format!("input{i}"), shape),
        };
        let inputs = self.inputs.iter().enumerate().map(input);
        let inputs = inputs.collect::<vitraux::Result<Vec<_>>>()?;
        let output = recording.scratch("output", &self.output)?;
        poison(&mut recording, output);
        recording.prefer(self.kernel);
        (self.record)(&mut recording, &inputs, output)?;
        recording.save("output", output);
        Ok(recording)
    }

    /// The precision of the factors that its kernel reads.
    fn precision(&self) -> Precision {
        match self.kernel {
            kernel if kernel.contains("_f16") || kernel.contains("_coop") => Precision::F16,
            "matmul_int8" | "quantise" => Precision::Int8,
            _ => Precision::F32,
        }
    }

    /// Values from -r to r that the case's precision holds as they are; of integers, because each row has one of the largest.
    fn held(&self, units: Vec<f32>, range: f32, width: usize) -> Vec<f32> {
        // The largest is negative in every other row, and the rows' scales differ.
        let largest = |row: usize| if row.is_multiple_of(2) { 127.0 } else { -127.0 };
        let integer = |(i, unit): (usize, f32)| if i % width == 0 { largest(i / width) } else { (unit * 126.0).round() };
        let step = |i: usize| ((range / 127.0).log2().floor() - (i / width % 3) as f32).exp2();
        match self.precision() {
            Precision::F32 => units.iter().map(|unit| unit * range).collect(),
            Precision::F16 => units.iter().map(|unit| half::f16::from_f32(unit * range).to_f32()).collect(),
            // The step is a power of two, so that it is a 127th of the largest exactly.
            Precision::Int8 => units.into_iter().enumerate().map(|unit| integer(unit) * step(unit.0)).collect(),
        }
    }

    /// The inputs' values, always the same for a case.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(&self.name);
        let mut input = |(shape, fill): &(Vec<usize>, Fill)| match (fill, rng.units(shape.iter().product())) {
            (Mask, units) => mask(&units, shape[1]),
            (Left(range) | Factor(range), units) => self.held(units, *range, *shape.last().expect("an axis")),
            (Graded(range), units) => graded(&units, *range, *shape.last().expect("an axis")),
            (Within(range), units) => units.iter().map(|value| value * range).collect(),
        };
        self.inputs.iter().map(&mut input).collect()
    }

    /// What its kernel needs.
    pub fn needs(&self) -> Needs {
        let kernel = ALL.iter().find(|kernel| kernel.name == self.kernel);
        kernel.unwrap_or_else(|| panic!("{} is not in ALL", self.kernel)).needs
    }

    /// What a device could be that runs it.
    pub fn able(&self) -> Capabilities {
        let Needs { cooperative, .. } = self.needs();
        let subgroup = if cooperative == 16 { 32 } else { 8 };
        Capabilities { subgroup, cooperative, software: true, ..Capabilities::CPU }
    }

    /// The inputs' values as a device reads them: factors in panels, and the bits of those that are no f32 as if they were.
    pub fn laid_out(&self, mut values: Vec<Vec<f32>>, on_gpu: bool) -> Vec<Vec<f32>> {
        let bytes = |packed: &Packed| packed.bytes().chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("four"))).collect();
        for ((shape, fill), values) in self.inputs.iter().zip(&mut values) {
            if let (Factor(_), &[n, k]) = (fill, shape.as_slice()) {
                *values = match (self.precision(), on_gpu) {
                    // The twins take f16 panels widened.
                    (Precision::F16, false) => bytes(&Packed::new(values, [n, k], Precision::F32)),
                    (precision, _) => bytes(&Packed::new(values, [n, k], precision)),
                };
            }
        }
        values
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
    /// make room for the order of the sum, and 16 units more for exp, division and the epilogue. Weights of attention in f16 are each off
    /// by at most 2^-11 of theirs, and their sum as much, which moves a mean of values up to v by at most v / 1024.
    pub fn tolerance(&self, expected: &[f64]) -> f64 {
        let largest = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
        let tolerance = f64::from(f32::EPSILON) * largest * (16.0 + 4.0 * (self.terms as f64).sqrt());
        assert!(tolerance <= 1e-4 * largest, "{}: a tolerance of {tolerance} beside values of {largest} would hide errors", self.name);
        match (self.kernel, self.inputs.first()) {
            ("attention_coop8" | "attention_coop16", Some((_, Left(range)))) => tolerance + f64::from(*range) / 1024.0,
            _ => tolerance,
        }
    }
}

/// The fixed cases: every kernel, tiles met exactly, missed by one, and not filled; real sizes of models.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1, 1], [64, 64, 16], [65, 63, 17], [128, 64, 32], [5, 130, 3], [197, 192, 768], [1, 1000, 192], [33, 7, 269]] {
        cases.extend(matmuls(shape));
    }
    for patches in [
        patchify([2, 3, 32, 32], [16, 16], false, 64),
        patchify([1, 3, 35, 35], [7, 7], false, 160),
        patchify([3, 1, 40, 70], [8, 14], false, 65),
        patchify([1, 5, 29, 33], [8, 8], false, 10),
        patchify([1, 5, 29, 33], [8, 8], true, 10),
        patchify([2, 2, 17, 9], [4, 6], true, 33),
        patchify([1, 3, 4, 4], [4, 4], false, 1),
    ] {
        cases.extend(patches);
    }
    cases.extend([
        embed(2, 5, 1, 0, 48),
        embed(1, 16, 0, 0, 10),
        embed(3, 9, 1, 1, 33),
        embed(2, 20, 5, 4, 36),
        embed(1, 197, 1, 0, 192),
        embed(2, 7, 5, 7, 12),
        embed(2, 6, 0, 6, 9),
    ]);
    for (rows, width, epsilon) in [(1, 1, 1e-6), (3, 64, 1e-6), (70, 65, 1e-12), (197, 768, 1e-6), (2, 30, 1e-5), (9, 36, 1e-2)] {
        cases.extend(layernorm(rows, width, epsilon));
    }
    for [batch, tokens, heads, head] in
        [[1, 2, 1, 16], [2, 65, 3, 16], [1, 64, 2, 64], [1, 33, 1, 72], [2, 26, 2, 80], [1, 130, 1, 128], [1, 17, 3, 10], [1, 1, 2, 8]]
    {
        cases.extend(attention([batch, tokens, heads, head], tokens, 1.0));
        cases.push(values(batch, tokens, heads, head));
    }
    // Scores up to some hundreds: exp overflows unless the maximum is subtracted.
    cases.extend(attention([1, 40, 2, 16], 40, 12.0));
    // A single score far below 0: exp underflows unless it is the maximum that is subtracted.
    cases.extend(attention([2, 1, 4, 16], 1, 20.0));
    for (queries, head) in [(1, 64), (41, 32), (2, 100)] {
        cases.extend(attention([2, 66, 2, head], queries, 1.0));
    }
    cases.extend([pool(2, 5, 7, 0..1, 1), pool(1, 197, 192, 1..197, 1), pool(3, 9, 65, 2..9, 1), pool(2, 9, 33, 1..9, 2)]);
    cases.extend([convolution([2, 3, 17, 22], [10, 7, 2]), convolution([1, 65, 9, 8], [70, 3, 1]), convolution([2, 8, 7, 9], [64, 1, 2])]);
    cases.extend([convolution([1, 64, 8, 8], [64, 3, 2]), convolution([3, 5, 6, 11], [3, 1, 1]), convolution([1, 1, 1, 1], [1, 3, 2])]);
    for shape in [[2, 64, 5, 7], [1, 32, 1, 1], [1, 96, 9, 8], [3, 8, 2, 3]] {
        cases.extend(groupnorms(shape, shape[1].min(32)));
    }
    cases.extend([max_pool([2, 3, 9, 8], 3, 2), max_pool([1, 5, 16, 17], 3, 2), max_pool([1, 1, 1, 1], 3, 2), max_pool([1, 2, 7, 7], 2, 1)]);
    cases.extend([qk_norm(2, 5, 3, 16), qk_norm(1, 1, 1, 64), qk_norm(3, 33, 2, 10)]);
    cases.extend([rotary(2, 9, 5, 3, 16), rotary(1, 6, 0, 1, 64), rotary(3, 20, 1, 2, 12)]);
    cases.extend([masked(1, 2, 1, 16, 1.0), masked(2, 65, 3, 16, 1.0), masked(3, 130, 1, 72, 1.0), masked(2, 40, 2, 10, 12.0)]);
    cases.extend([attention_pool(2, 9, 0, 3, 16, 2.0), attention_pool(1, 197, 5, 2, 72, 2.0), attention_pool(3, 130, 1, 1, 130, 2.0)]);
    cases.extend([attention_pool(2, 65, 0, 2, 64, 2.0), attention_pool(1, 64, 0, 1, 16, 1.0)]);
    // A single score far below 0, as for `attention`.
    cases.push(attention_pool(2, 2, 1, 4, 16, 20.0));
    for activation in [Activation::Silu, Activation::Gelu] {
        cases.extend([gate(3, 8, activation), gate(65, 130, activation), gate(1, 1, activation)]);
    }
    cases.extend([unit(1, 1), unit(5, 24), unit(70, 130)]);
    cases.extend([average(1), average(64), average(1000)]);
    for len in [4, 256, 1000, 40_000] {
        cases.extend(ceilings(len));
    }
    for tiles in [1, 7, 100] {
        cases.extend([ceiling_coop("ceiling_coop8", 8, tiles), ceiling_coop("ceiling_coop16", 16, tiles)]);
    }
    cases.extend(maps::all());
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
        cases.extend(matmuls([size(1, 140), size(1, 140), 4 * size(1, 40)]));
        let patch = [size(1, 17), size(1, 17)];
        let image = [patch[0] * size(1, 5) + size(0, patch[0] - 1), patch[1] * size(1, 5) + size(0, patch[1] - 1)];
        cases.extend(patchify([size(1, 3), size(1, 5), image[0], image[1]], patch, size(0, 1) == 1, size(1, 140)));
        let prefix = size(0, 5);
        cases.push(embed(size(1, 3), prefix + size(1, 40), prefix, size(0, prefix), size(1, 90)));
        cases.extend(layernorm(size(1, 90), size(2, 300), 1e-6));
        let [batch, tokens, heads, head] = [size(1, 3), size(2, 150), size(1, 4), size(1, 130)];
        cases.extend(attention([batch, tokens, heads, head], size(1, tokens), 1.0));
        cases.push(values(batch, tokens, heads, head));
        let (tokens, first) = (size(2, 50), size(0, 1)); // of the pool, and of what follows
        cases.push(pool(size(1, 4), tokens, size(1, 200), first..size(first + 1, tokens), size(1, 3)));
        cases.push(softmax(size(1, 90), size(1, 300), 4.0));
        let map = [size(1, 3), size(1, 40), size(1, 20), size(1, 20)];
        cases.extend([convolution(map, [size(1, 80), size(1, 7), size(1, 2)]), max_pool(map, size(1, 4), size(1, 3))]);
        let groups = size(1, 8);
        cases.extend(groupnorms([size(1, 3), groups * size(1, 5), size(1, 12), size(1, 12)], groups));
        cases.extend([qk_norm(batch, tokens, heads, size(2, 130)), gate(size(1, 90), size(1, 200), Activation::Silu)]);
        let prefix = size(0, tokens - 1);
        cases.extend([rotary(batch, tokens, prefix, heads, 4 * size(1, 20)), attention_pool(batch, tokens, prefix, heads, head, 1.0)]);
        cases.extend(maps::of_sizes([batch, tokens, heads, head], first, size(1, tokens - first)));
        cases.extend([masked(batch, tokens, heads, head, 1.0), unit(size(1, 90), size(1, 300)), average(size(1, 5000))]);
    }
    cases
}

/// One case for each way to compute products and each epilogue.
fn matmuls(shape: [usize; 3]) -> Vec<Case> {
    let mut cases = Vec::new();
    let tiles = ["matmul", "matmul_128x128", "matmul_128x64", "matmul_32x32"].map(|rung| ("matmul", rung));
    let of_f16 = [("matmul_f16", "matmul_f16_128x128"), ("matmul_combine", "matmul_split")];
    let others = ["matmul_subgroup", "matmul_skinny", "matmul_split", "matmul_naive", "matmul_int8", "quantise"].map(|kernel| (kernel, kernel));
    let others_f16 = ["matmul_f16", "matmul_subgroup_f16", "matmul_skinny_f16", "matmul_split_f16"].map(|kernel| (kernel, kernel));
    let coop = ["matmul_coop16", "matmul_split_coop16", "matmul_coop8", "matmul_split_coop8"].map(|kernel| (kernel, kernel));
    let coop = [&coop[..], &[("matmul_coop16", "matmul_coop16_64x64"), ("matmul_coop8", "matmul_coop8_32x32")]].concat();
    // They read x four values at a time.
    let coop = if shape[2].is_multiple_of(4) { coop } else { Vec::new() };
    for kernel in [&tiles[..], &of_f16, &coop, &others, &others_f16].concat() {
        cases.push(matmul(kernel, shape, "bias", 0, |_| Epilogue::Bias, |sum, _, _| sum));
        for activation in Activation::ALL {
            let finish = move |sum, _, _| reference::activate(activation, sum);
            cases.push(matmul(kernel, shape, &format!("{activation:?}"), 0, move |_| Epilogue::Activation(activation), finish));
        }
        cases.push(matmul(kernel, shape, "residual", 1, |_| Epilogue::Residual, |sum, before, _| before + sum));
        let scaled = |inputs: &[Buf]| Epilogue::ScaledResidual(inputs[5]);
        cases.push(matmul(kernel, shape, "scaled residual", 2, scaled, |sum, before, scale| before + scale * sum));
    }
    cases
}

/// A product whose result, for the residual epilogues, begins as another product: inputs 3 and 4 are its
/// factors of depth 1, and input 5 the scale. `extras` says how much of that the epilogue needs.
fn matmul(
    (kernel, rung): (&'static str, &'static str),
    [m, n, k]: [usize; 3],
    what: &str,
    extras: usize,
    epilogue: impl Fn(&[Buf]) -> Epilogue + 'static,
    finish: impl Fn(f64, f64, f64) -> f64 + 'static,
) -> Case {
    // Values that keep sums near 1, so that activations are tested where they bend.
    let range = (3.0 / (k as f32).sqrt()).min(1.0).sqrt() * 1.5;
    let mut inputs = vec![(vec![m, k], Left(range)), (vec![n, k], Factor(range)), (vec![n], Within(1.0))];
    if extras > 0 {
        inputs.extend([(vec![m, 1], Left(1.0)), (vec![n, 1], Factor(1.0))]);
    }
    if extras > 1 {
        inputs.push((vec![n], Within(1.0)));
    }
    Case {
        name: format!("{rung} {what} {m}x{n}x{k}"),
        kernel,
        inputs,
        output: vec![m, n],
        record: Box::new(move |recording, inputs, output| {
            let bias = inputs[2];
            recording.prefer(rung);
            if extras > 0 {
                kernels::matmul(recording, "before".into(), inputs[3], [inputs[4], bias], Epilogue::Bias, output)?;
            }
            kernels::matmul(recording, kernel.into(), inputs[0], [inputs[1], bias], epilogue(inputs), output)
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

fn patchify(image: [usize; 4], patch: [usize; 2], pad: bool, width: usize) -> Vec<Case> {
    let [batch, channels, height, image_width] = image;
    let grid = [(height, patch[0]), (image_width, patch[1])].map(|(size, patch)| if pad { size.div_ceil(patch) } else { size / patch });
    let count = grid[0] * grid[1];
    let values = channels * patch[0] * patch[1];
    let case = |kernel| Case {
        name: format!("{kernel} {image:?} by {patch:?} to {width}, {grid:?} patches"),
        kernel,
        inputs: vec![(image.to_vec(), Within(1.0)), (vec![width, values], Factor(1.0)), (vec![width], Within(1.0))],
        output: vec![batch, count, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::patchify(recording, "patchify".into(), inputs[0], [inputs[1], inputs[2]], patch, grid, output)
        }),
        reference: Box::new(move |inputs| {
            let rows = reference::patches(&inputs[0], image, patch, grid);
            reference::matmul(&rows, &inputs[1], &inputs[2], [batch * count, width, values])
        }),
        terms: values,
        flops: 2 * (batch * count * width * values) as u64,
    };
    let is_inside = grid[0] * patch[0] <= height && grid[1] * patch[1] <= image_width;
    std::iter::once("patchify").chain(is_inside.then_some("patchify_subgroup")).map(case).collect()
}

fn embed(batch: usize, tokens: usize, prefix: usize, skip: usize, width: usize) -> Case {
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
    }
}

fn layernorm(rows: usize, width: usize, epsilon: f32) -> Vec<Case> {
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
    };
    std::iter::once("layernorm").chain(width.is_multiple_of(4).then_some("layernorm_subgroup")).map(case).collect()
}

/// Attention of the first `queries` tokens of each image, in every way that takes such heads.
fn attention([batch, tokens, heads, head]: [usize; 4], queries: usize, range: f32) -> Vec<Case> {
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

fn values(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
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

/// The mean, written side by side to all of `columns` columns.
fn pool(batch: usize, tokens: usize, width: usize, range: std::ops::Range<usize>, columns: usize) -> Case {
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
    }
}

fn convolution(map: [usize; 4], [outputs, size, stride]: [usize; 3]) -> Case {
    let [batch, channels, height, width] = map;
    let output = [batch, outputs, height.div_ceil(stride), width.div_ceil(stride)];
    let values = channels * size * size;
    Case {
        name: format!("convolution {map:?} to {outputs} by {size} / {stride}"),
        kernel: "convolution",
        inputs: vec![(map.to_vec(), Within(1.0)), (vec![outputs, channels, size, size], Within(1.0))],
        output: output.to_vec(),
        record: Box::new(move |recording, inputs, output| {
            kernels::convolution(recording, "convolution".into(), inputs[0], inputs[1], stride, output)
        }),
        reference: Box::new(move |inputs| reference::convolution(&inputs[0], map, &inputs[1], outputs, [size, stride])),
        terms: values,
        flops: 2 * (output.iter().product::<usize>() * values) as u64,
    }
}

/// One case for each epilogue; for the residual one the result begins as the fourth input, by way of a maximum of single pixels.
fn groupnorms(map: [usize; 4], groups: usize) -> Vec<Case> {
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
    };
    vec![
        of("groupnorm", After::Nothing, |value, _| value),
        of("groupnorm_relu", After::Relu, |value, _| value.max(0.0)),
        of("groupnorm_residual_relu", After::ResidualRelu, |value, before| (value + before).max(0.0)),
    ]
}

fn max_pool(map: [usize; 4], size: usize, stride: usize) -> Case {
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
    }
}

/// A kernel that works in place, on packed qkv that begins as the first input, by way of `embed`.
fn in_place(
    kernel: &'static str,
    [batch, tokens, heads, head]: [usize; 4],
    what: String,
    more: Vec<(Vec<usize>, Fill)>,
    record: impl Fn(&mut Recording, &[Buf], Buf) -> vitraux::Result<()> + 'static,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64> + 'static,
) -> Case {
    let shape = vec![batch, tokens, 3 * heads * head];
    Case {
        name: format!("{kernel} [{batch}, {tokens}, {heads}, {head}]{what}"),
        kernel,
        inputs: [vec![(shape.clone(), Within(1.0))], more].concat(),
        output: shape.clone(),
        record: Box::new(move |recording, inputs, output| {
            kernels::embed(recording, "before".into(), inputs[0], None, None, output)?;
            record(recording, &inputs[1..], output)
        }),
        reference: Box::new(reference),
        terms: head,
        flops: 8 * shape.iter().product::<usize>() as u64,
    }
}

fn qk_norm(batch: usize, tokens: usize, heads: usize, head: usize) -> Case {
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

/// The angles' cosines and sines are made up, and need not fit each other.
fn rotary(batch: usize, tokens: usize, skip: usize, heads: usize, head: usize) -> Case {
    in_place(
        "rotary",
        [batch, tokens, heads, head],
        format!(" without {skip}"),
        vec![(vec![tokens - skip, head / 2, 2], Within(1.0))],
        move |recording, inputs, qkv| kernels::rotary(recording, "rotary".into(), qkv, inputs[0], heads),
        move |inputs| {
            let mut result = inputs[0].clone();
            for (i, vector) in result.chunks_mut(head).enumerate() {
                let (part, n) = (i / heads % 3, i / (3 * heads) % tokens);
                if part == 2 || n < skip {
                    continue;
                }
                let before = vector.to_vec();
                for j in 0..head / 2 {
                    let angle = &inputs[1][((n - skip) * head / 2 + j) * 2..][..2];
                    vector[j] = before[j] * angle[0] - before[j + head / 2] * angle[1];
                    vector[j + head / 2] = before[j + head / 2] * angle[0] + before[j] * angle[1];
                }
            }
            result
        },
    )
}

fn masked(batch: usize, tokens: usize, heads: usize, head: usize, range: f32) -> Case {
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

fn attention_pool(batch: usize, tokens: usize, first: usize, heads: usize, head: usize, range: f32) -> Case {
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

fn gate(rows: usize, width: usize, activation: Activation) -> Case {
    Case {
        name: format!("gate {activation:?} {rows}x{width}"),
        kernel: "gate",
        inputs: vec![(vec![rows, 2 * width], Within(3.0))],
        output: vec![rows, width],
        record: Box::new(move |recording, inputs, output| kernels::gate(recording, "gate".into(), inputs[0], activation, output)),
        reference: Box::new(move |inputs| {
            let pair = |i: usize| (inputs[0][i / width * 2 * width + i % width], inputs[0][i / width * 2 * width + width + i % width]);
            (0..rows * width).map(|i| reference::activate(activation, pair(i).0) * pair(i).1).collect()
        }),
        terms: 1,
        flops: 6 * (rows * width) as u64,
    }
}

fn unit(rows: usize, width: usize) -> Case {
    Case {
        name: format!("unit {rows}x{width}"),
        kernel: "unit",
        inputs: vec![(vec![rows, width], Within(4.0))],
        output: vec![rows, width],
        record: Box::new(|recording, inputs, output| kernels::unit(recording, "unit".into(), inputs[0], output)),
        reference: Box::new(move |inputs| {
            let length = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
            inputs[0].chunks(width).flat_map(|row| row.iter().map(move |value| value / length(row))).collect()
        }),
        terms: width,
        flops: 3 * (rows * width) as u64,
    }
}

fn ceilings(len: usize) -> [Case; 2] {
    let case = |kernel: &'static str, terms, flops: usize| Case {
        name: format!("{kernel} {len}"),
        kernel,
        inputs: vec![(vec![len], Within(0.9))],
        output: vec![len],
        record: Box::new(move |recording, inputs, output| match kernel {
            "ceiling_copy" => kernels::ceiling_copy(recording, kernel.into(), inputs[0], output),
            _ => kernels::ceiling_multiply(recording, kernel.into(), inputs[0], output),
        }),
        reference: Box::new(move |inputs| {
            let chain = |x: f64| (0..4).map(|start| (0..256).fold(f64::from(start), |s, _| s * x + x / 2.0)).sum();
            inputs[0].iter().map(|&x| if kernel == "ceiling_copy" { x } else { chain(x) }).collect()
        }),
        terms,
        flops: (flops * len) as u64,
    };
    // The chain forgets what is further back than about ten steps.
    [case("ceiling_copy", 1, 1), case("ceiling_multiply", 40, 2048)]
}

fn ceiling_coop(kernel: &'static str, side: usize, tiles: usize) -> Case {
    Case {
        name: format!("{kernel} {tiles}"),
        kernel,
        inputs: vec![(vec![tiles, side * side], Left(0.9))],
        output: vec![tiles, side * side],
        record: Box::new(move |recording, inputs, output| kernels::ceiling_coop(recording, kernel.into(), inputs[0], output)),
        reference: Box::new(move |inputs| {
            let square = |x: &[f64]| {
                let dot = |row: usize, column: usize| (0..side).map(|k| x[row * side + k] * x[k * side + column]).sum::<f64>();
                (0..side * side).map(|i| 1024.0 * dot(i / side, i % side)).collect::<Vec<_>>()
            };
            inputs[0].chunks(side * side).flat_map(square).collect()
        }),
        terms: 256 * side,
        flops: (2048 * tiles * side.pow(3)) as u64,
    }
}

fn average(len: usize) -> Case {
    Case {
        name: format!("average {len}"),
        kernel: "average",
        inputs: vec![(vec![len], Within(2.0)), (vec![len], Within(2.0))],
        output: vec![len],
        record: Box::new(|recording, inputs, output| kernels::average(recording, "average".into(), [inputs[0], inputs[1]], output)),
        reference: Box::new(|inputs| inputs[0].iter().zip(&inputs[1]).map(|(a, b)| (a + b) / 2.0).collect()),
        terms: 1,
        flops: 2 * len as u64,
    }
}

fn softmax(rows: usize, width: usize, range: f32) -> Case {
    Case {
        name: format!("softmax {rows}x{width} within {range}"),
        kernel: "softmax",
        inputs: vec![(vec![rows, width], Within(range))],
        output: vec![rows, width],
        record: Box::new(|recording, inputs, output| kernels::softmax(recording, "softmax".into(), inputs[0], output)),
        reference: Box::new(move |inputs| reference::softmax(&inputs[0], width)),
        terms: width + range as usize,
        flops: 4 * (rows * width) as u64,
    }
}
