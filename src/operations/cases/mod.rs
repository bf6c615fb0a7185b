//! The case table: for each kernel, the shapes to check, with the brute-force result in f64 and the tolerance. Used by the tests, the mutation tests
//! and [`doctor`](crate::model::doctor).

mod attention;
mod ceilings;
pub mod compare;
mod dense;
mod maps;
mod masks;
mod norms;
mod poison;
mod products;
pub mod reference;
mod rng;
mod tokens;

pub use poison::poison;
pub use rng::Rng;

use crate::data::capabilities::{Capabilities, Needs, Precision};
use crate::data::config::Activation;
use crate::data::int8::BLOCK;
use crate::data::levels::WORD;
use crate::data::panels::{Packed, halves};
use crate::data::record::{Buf, Recording};
use crate::operations::kernels::{ALL, variant::Variant};
use attention::{attention, attention_pool, masked, powers as attention_powers, values};
use ceilings::{ceiling_coop, ceilings};
use norms::{groupnorms, l2_normalize, layernorm, qk_norm, qk_rmsnorm, rotary, softmax};
use products::{convolution, matmuls, normalise, powers, unfold};
use reference::wide;
use tokens::{accumulate, average, embed, gate, gather, max_pool, pool, pool_max};

type Record = Box<dyn Fn(&mut Recording, &[Buf], Buf) -> crate::data::error::Result<()>>;
type Reference = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64>>;

/// A kernel call on generated data.
pub struct Case {
    /// Kernel and shape, for messages.
    pub name: String,
    /// The kernel under test.
    pub kernel: &'static str,
    /// Precision of the factors.
    precision: Precision,
    /// Precision of the inputs that are [`Left`].
    activations: Precision,
    /// Precision of the result.
    written: Precision,
    /// Extra tolerance on top of summation rounding.
    slack: f64,
    /// Whether these sizes produce a large shader.
    is_large: bool,
    /// Whether factor rows differ in magnitude and each has one dominant value.
    is_peaked: bool,
    /// Shape and contents of each input.
    inputs: Vec<(Vec<usize>, Fill)>,
    /// Shape of the result.
    pub output: Vec<usize>,
    record: Record,
    reference: Reference,
    /// Products summed per element of the result; rounding grows with the square root.
    terms: usize,
    /// Floating-point operations.
    pub flops: u64,
}

/// Contents of an input.
#[derive(Clone, Copy)]
enum Fill {
    /// Values from -r to r.
    Within(f32),
    /// Values from -r to r in activation precision: the lhs `[M, K]` of a product, or packed queries, keys and values.
    Left(f32),
    /// Values from -r to r for the rhs `[N, K]` of a product.
    Factor(f32),
    /// Values from -r to r that f16 represents exactly, stored as f32.
    Halves(f32),
    /// Values from -r to r, halved in magnitude with each column of the last axis.
    Graded(f32),
    /// A mask `[B, N]`.
    Mask,
    /// Whole numbers below this one.
    Below(usize),
    /// A mask `[B, N]` that leaves the first token of each sequence.
    Padding,
    /// 8-bit levels `[B, ..]`, packed four to a word.
    Levels,
}
use Fill::{Below, Factor, Graded, Halves, Left, Levels, Mask, Padding, Within};

/// Two devices that between them run every variant: with 8 × 8 and with 16 × 16 cooperative matrices.
fn devices() -> [Capabilities; 2] {
    [(8, 8), (32, 16)].map(|(subgroup, cooperative)| Capabilities { subgroup, cooperative, half: true, software: true, ..Capabilities::CPU })
}

/// Collects the variants that `suitable` returns for any of the devices.
fn of_all_devices<S: PartialEq>(suitable: impl Fn(&Capabilities) -> Vec<&'static Variant<S>>) -> Vec<&'static Variant<S>> {
    let mut found: Vec<&Variant<S>> = Vec::new();
    for variant in devices().iter().flat_map(suitable) {
        if !found.iter().any(|known| known.shape == variant.shape) {
            found.push(variant);
        }
    }
    found
}

/// Masks about half of the tokens, but leaves at least one per sequence, `step` further on than in the sequence before.
fn mask(units: &[f32], tokens: usize, step: usize) -> Vec<f32> {
    let ignored = |(i, unit): (usize, &f32)| f32::from(u8::from(*unit > 0.0 && i % tokens != i / tokens * step % tokens));
    units.iter().enumerate().map(ignored).collect()
}

/// Multiples of 1/127 of each block's first value, its largest, offset by a quarter step up or down: they need rounding, but are far from ties.
fn between(values: Vec<f32>, width: usize) -> Vec<f32> {
    let quarter = |i: usize| match i % width % BLOCK {
        0 => 0.0,
        place => values[i - place] / 127.0 * if i.is_multiple_of(2) { 0.25 } else { -0.25 },
    };
    values.iter().enumerate().map(|(i, value)| value + quarter(i)).collect()
}

/// Rows of several magnitudes. One value per row, at varying positions, is at least 4 times as large as the others.
fn peaked(units: &[f32], range: f32, width: usize) -> Vec<f32> {
    let is_peak = |i: usize| i % width == i / width * 7 % width;
    let magnitude = |row: usize| range * 0.5f32.powi((row % 3 + row % 5) as i32);
    let value = |(i, unit): (usize, &f32)| magnitude(i / width) * if is_peak(i) { unit.signum() * (0.5 + 0.5 * unit.abs()) } else { unit / 8.0 };
    units.iter().enumerate().map(value).collect()
}

/// Packs levels four to a word. Each image starts at a word boundary.
fn packed_levels(levels: &[f32], image: usize) -> Vec<f32> {
    let word = |four: &[f32]| four.iter().rev().fold(0, |word, &level| word << 8 | level as u32);
    levels.chunks(image).flat_map(|levels| levels.chunks(WORD).map(word)).map(f32::from_bits).collect()
}

fn graded(units: &[f32], range: f32, width: usize) -> Vec<f32> {
    units.iter().enumerate().map(|(i, unit)| unit * range * 0.5f32.powi((i % width) as i32)).collect()
}

impl Case {
    /// Default case: f32, with a tolerance for summation rounding only.
    fn plain() -> Case {
        Case {
            name: String::new(),
            kernel: "",
            precision: Precision::F32,
            activations: Precision::F32,
            written: Precision::F32,
            slack: 0.0,
            is_large: false,
            is_peaked: false,
            inputs: Vec::new(),
            output: Vec::new(),
            record: Box::new(|_, _, _| Ok(())),
            reference: Box::new(|_| Vec::new()),
            terms: 0,
            flops: 0,
        }
    }

    /// Switches to f16 activations: the result, and the [`Left`] inputs if there are any.
    fn in_f16(self) -> Case {
        Case { name: format!("{}, in f16", self.name), activations: Precision::F16, written: Precision::F16, ..self }
    }

    /// Sets the precision of the result.
    fn written_as(self, written: Precision) -> Case {
        Case { written, ..self }
    }

    /// Records the case: poisons the result, computes it, saves it.
    pub fn recording(&self, capabilities: Capabilities) -> crate::data::error::Result<Recording> {
        let mut recording = Recording::new(capabilities).with_precision(self.precision);
        let input = |(i, (shape, fill)): (usize, &(Vec<usize>, Fill))| match (fill, shape.as_slice()) {
            (Factor(_), &[n, k]) => recording.input_factor(format!("input{i}"), [n, k]),
            (Left(_), shape) => recording.input_in(format!("input{i}"), shape, self.activations),
            (Levels, shape) => {
                let words = shape[1..].iter().product::<usize>().div_ceil(WORD);
                recording.input_in(format!("input{i}"), &[shape[0], words], Precision::Int8)
            }
            (_, shape) => recording.input(format!("input{i}"), shape),
        };
        let inputs = self.inputs.iter().enumerate().map(input);
        let inputs = inputs.collect::<crate::data::error::Result<Vec<_>>>()?;
        let output = recording.scratch_in("output", &self.output, self.written)?;
        poison(&mut recording, output);
        recording.prefer(self.kernel);
        (self.record)(&mut recording, &inputs, output)?;
        recording.save("output", output);
        Ok(recording)
    }

    /// Generates values from -r to r that a precision represents exactly. For integers, the first value of each block of a row is the largest.
    fn held(precision: Precision, units: Vec<f32>, range: f32, width: usize) -> Vec<f32> {
        // The largest value alternates in sign from block to block, and the scales differ.
        let block = |i: usize| i / width + i % width / BLOCK;
        let largest = |block: usize| if block.is_multiple_of(2) { 127.0 } else { -127.0 };
        let integer = |(i, unit): (usize, f32)| if (i % width).is_multiple_of(BLOCK) { largest(block(i)) } else { (unit * 126.0).round() };
        let step = |i: usize| ((range / 127.0).log2().floor() - (block(i) % 3) as f32).exp2();
        match precision {
            Precision::F32 => units.iter().map(|unit| unit * range).collect(),
            Precision::F16 => units.iter().map(|unit| half::f16::from_f32(unit * range).to_f32()).collect(),
            Precision::Bf16 => units.iter().map(|unit| half::bf16::from_f32(unit * range).to_f32()).collect(),
            // The step is a power of two, so the largest value divided by 127 is exact.
            Precision::Int8 => units.into_iter().enumerate().map(|unit| integer(unit) * step(unit.0)).collect(),
        }
    }

    /// Returns the input values, which are deterministic for a case.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(&self.name);
        let mut input = |(shape, fill): &(Vec<usize>, Fill)| match (fill, rng.units(shape.iter().product())) {
            (Below(count), units) => units.iter().map(|unit| ((unit + 1.0) / 2.0 * *count as f32).floor().min((*count - 1) as f32)).collect(),
            (Mask, units) => mask(&units, shape[1], 5),
            (Padding, units) => mask(&units, shape[1], 0),
            (Levels, units) => units.iter().map(|unit| (127.5 + 127.5 * unit).round()).collect(),
            (Left(range), units) if self.kernel == "quantise" => between(Self::held(self.precision, units, *range, shape[1]), shape[1]),
            (Left(range), units) if self.kernel == "to_bf16" => Self::held(Precision::F32, units, *range, 1),
            // The lhs of such a product is converted too.
            (Left(range), units) if self.precision.is_packed() => Self::held(self.precision, units, *range, shape[1]),
            (Left(range) | Factor(range), units) if self.is_peaked => peaked(&units, *range, shape[1]),
            (Left(range), units) => Self::held(self.activations, units, *range, 1),
            (Factor(range), units) => Self::held(self.precision, units, *range, *shape.last().expect("an axis")),
            (Halves(range), units) => Self::held(Precision::F16, units, *range, 1),
            (Graded(range), units) => graded(&units, *range, *shape.last().expect("an axis")),
            (Within(range), units) => units.iter().map(|value| value * range).collect(),
        };
        self.inputs.iter().map(&mut input).collect()
    }

    /// Requirements of the kernel and of the element types.
    pub fn needs(&self) -> Needs {
        let kernel = ALL.iter().find(|kernel| kernel.name == self.kernel);
        let needs = kernel.unwrap_or_else(|| panic!("{} is not in ALL", self.kernel)).needs;
        let is_half = [self.activations, self.written].contains(&Precision::F16);
        Needs { half: needs.half || is_half, large_shaders: needs.large_shaders || self.is_large, ..needs }
    }

    /// Returns a device that can run the case.
    pub fn able(&self) -> Capabilities {
        let able = devices().into_iter().find(|device| self.needs().met_by(device));
        able.unwrap_or_else(|| panic!("{} runs on no device", self.kernel))
    }

    /// Lays out the inputs for a device: factors in panels, and non-f32 data as words reinterpreted as f32.
    pub fn laid_out(&self, mut values: Vec<Vec<f32>>, on_gpu: bool) -> Vec<Vec<f32>> {
        let words = |bytes: &[u8]| bytes.chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("four"))).collect();
        for ((shape, fill), values) in self.inputs.iter().zip(&mut values) {
            match (fill, shape.as_slice(), on_gpu) {
                // The twins read f16 widened to f32.
                (Factor(_), &[n, k], false) if self.precision == Precision::F16 => {
                    *values = words(Packed::new(values, [n, k], Precision::F32).bytes())
                }
                (Factor(_), &[n, k], _) => *values = words(Packed::new(values, [n, k], self.precision).bytes()),
                (Levels, shape, _) => *values = packed_levels(values, shape[1..].iter().product()),
                (Left(_), _, true) if self.activations == Precision::F16 => *values = words(&halves(values)),
                _ => {}
            }
        }
        values
    }

    /// Computes the result in f64, clamped to the range of the output precision.
    pub fn expected(&self, values: &[Vec<f32>]) -> Vec<f64> {
        let largest = if self.written == Precision::F16 { half::f16::MAX.to_f64() } else { f64::INFINITY };
        let expected = (self.reference)(&values.iter().map(|values| wide(values)).collect::<Vec<_>>());
        expected.into_iter().map(|value| value.clamp(-largest, largest)).collect()
    }

    /// Minimum memory traffic in bytes: each input and the result once, at 4 bytes per element.
    pub fn bytes(&self) -> u64 {
        let elements: usize = self.inputs.iter().map(|(shape, _)| shape).chain([&self.output]).map(|shape| shape.iter().product::<usize>()).sum();
        elements as u64 * 4
    }

    /// Error bound per element. The rounding errors of a sum of t terms in f32 add up like a random walk, to about sqrt(t) half units in the last
    /// place of the largest partial sum. The bound allows 8 of those for the summation order, and 16 units more for exp, division and the epilogue. A
    /// result in f16 is off by at most 2^-11 of itself.
    pub fn tolerance(&self, expected: &[f64]) -> f64 {
        let largest = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
        let tolerance = f64::from(f32::EPSILON) * largest * (16.0 + 4.0 * (self.terms as f64).sqrt());
        assert!(tolerance <= 1e-4 * largest, "{}: a tolerance of {tolerance} beside values of {largest} would hide errors", self.name);
        let rounded = if self.written == Precision::F16 { largest / 2048.0 } else { 0.0 };
        tolerance + rounded + self.slack
    }
}

/// The fixed cases: every kernel, on tiles that fit exactly, miss by one or stay partly empty, and on real model sizes.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1, 1], [64, 64, 16], [65, 63, 17], [128, 64, 32], [5, 130, 3], [197, 192, 768], [1, 1000, 192], [33, 7, 269], [33, 36, 28]] {
        cases.extend(matmuls(shape));
    }
    cases.extend([[1, 4, 4], [5, 132, 8], [64, 64, 64], [33, 36, 28], [3, 60, 1100]].map(powers));
    for (image, patch, grid) in [
        ([2, 3, 32, 32], [16, 16], [2, 2]),
        ([3, 1, 40, 70], [8, 14], [5, 5]),
        ([1, 5, 29, 33], [8, 8], [3, 4]),
        ([2, 2, 17, 9], [4, 6], [5, 2]),
        ([1, 1, 3, 3], [1, 3], [3, 1]),
    ] {
        cases.extend([unfold(image, patch, grid), unfold(image, patch, grid).in_f16()]);
    }
    cases.extend([[2, 3, 8, 8], [3, 1, 5, 7], [1, 3, 3, 3], [5, 3, 1, 1], [2, 3, 19, 23]].map(normalise));
    cases.extend([
        embed(2, 5, 1, 0, 48),
        embed(1, 16, 0, 0, 10),
        embed(3, 9, 1, 1, 33),
        embed(2, 20, 5, 4, 36),
        embed(1, 197, 1, 0, 192),
        embed(2, 7, 5, 7, 12),
        embed(2, 6, 0, 6, 9),
    ]);
    for (rows, width, epsilon) in [(1, 1, 1e-6), (3, 64, 1e-6), (70, 65, 1e-12), (197, 768, 1e-6), (2, 30, 1e-5), (9, 36, 1e-2), (1030, 44, 1e-6)] {
        cases.extend(layernorm(rows, width, epsilon));
    }
    for [batch, tokens, heads, head] in [
        [1, 2, 1, 16],
        [2, 65, 3, 16],
        [1, 64, 2, 64],
        [1, 33, 1, 72],
        [2, 26, 2, 80],
        [1, 130, 1, 128],
        [1, 17, 3, 10],
        [1, 1, 2, 8],
        [2, 21, 2, 12],
    ] {
        cases.extend(attention([batch, tokens, heads, head], tokens, 1.0));
        cases.extend(values(batch, tokens, heads, head));
    }
    cases.extend([[1, 1, 1, 4], [2, 65, 3, 16], [1, 9, 2, 64], [3, 20, 1, 12]].map(attention_powers));
    // Scores up to several hundred: exp overflows unless the maximum is subtracted.
    cases.extend(attention([1, 40, 2, 16], 40, 12.0));
    // A single score far below 0: exp underflows unless the true maximum is subtracted.
    cases.extend(attention([2, 1, 4, 16], 1, 20.0));
    for (queries, head) in [(1, 64), (41, 32), (2, 100)] {
        cases.extend(attention([2, 66, 2, head], queries, 1.0));
    }
    cases.extend([pool(2, 5, 7, 0..1, 1), pool(1, 197, 192, 1..197, 1), pool(3, 9, 65, 2..9, 1), pool(2, 9, 33, 1..9, 2)]);
    cases.extend([pool_max(2, 5, 7, 0..1), pool_max(1, 197, 192, 1..197), pool_max(3, 9, 65, 2..8)]);
    cases.extend([gather(3, 7, 33), gather(1, 1, 64), gather(70, 20, 5)]);
    cases.extend([accumulate(1), accumulate(1024), accumulate(40_000)]);
    cases.extend([convolution([2, 3, 17, 22], [10, 7, 2]), convolution([1, 65, 9, 8], [70, 3, 1]), convolution([2, 8, 7, 9], [64, 1, 2])]);
    cases.extend([convolution([1, 64, 8, 8], [64, 3, 2]), convolution([3, 5, 6, 11], [3, 1, 1]), convolution([1, 1, 1, 1], [1, 3, 2])]);
    for shape in [[2, 64, 5, 7], [1, 32, 1, 1], [1, 96, 9, 8], [3, 8, 2, 3]] {
        cases.extend(groupnorms(shape, shape[1].min(32)));
    }
    cases.extend([max_pool([2, 3, 9, 8], 3, 2), max_pool([1, 5, 16, 17], 3, 2), max_pool([1, 1, 1, 1], 3, 2), max_pool([1, 2, 7, 7], 2, 1)]);
    cases.extend([qk_norm(2, 5, 3, 16), qk_norm(1, 1, 1, 64), qk_norm(3, 33, 2, 10), qk_norm(2, 5, 3, 16).in_f16(), qk_norm(1, 3, 1, 9).in_f16()]);
    cases.extend([rotary(2, 9, 5, 3, 16), rotary(1, 6, 0, 1, 64), rotary(3, 20, 1, 2, 12)].into_iter().flatten());
    cases.extend(rotary(2, 9, 5, 3, 16).into_iter().map(Case::in_f16));
    cases.extend([qk_rmsnorm(2, 5, 3, 16), qk_rmsnorm(1, 1, 1, 64), qk_rmsnorm(3, 33, 2, 10), qk_rmsnorm(2, 5, 3, 16).in_f16()]);
    for (sizes, range) in [([1, 2, 1, 16], 1.0), ([2, 65, 3, 16], 1.0), ([3, 130, 1, 72], 1.0), ([2, 40, 2, 10], 12.0)] {
        cases.extend(masked(sizes, range));
    }
    cases.extend(
        [attention_pool(2, 9, 0, 3, 16, 2.0), attention_pool(1, 197, 5, 2, 72, 2.0), attention_pool(3, 130, 1, 1, 130, 2.0)].into_iter().flatten(),
    );
    cases.extend([attention_pool(2, 65, 0, 2, 64, 2.0), attention_pool(1, 64, 0, 1, 16, 1.0)].into_iter().flatten());
    // A single score far below 0, as for `attention`.
    cases.extend(attention_pool(2, 2, 1, 4, 16, 20.0));
    for activation in [Activation::Silu, Activation::Gelu] {
        cases.extend([gate(3, 8, activation, 3.0), gate(65, 130, activation, 3.0), gate(1, 1, activation, 3.0)]);
        // Products up to 160,000, which f16 cannot represent.
        cases.extend([gate(7, 33, activation, 3.0).in_f16(), gate(9, 8, activation, 400.0).in_f16()]);
    }
    cases.extend([l2_normalize(1, 1), l2_normalize(5, 24), l2_normalize(70, 130)]);
    cases.extend([average(1), average(64), average(1000)]);
    for len in [4, 256, 1000, 40_000] {
        cases.extend(ceilings(len));
    }
    for tiles in [1, 7, 100] {
        cases.extend([ceiling_coop("ceiling_coop8", 8, tiles), ceiling_coop("ceiling_coop16", 16, tiles)]);
    }
    cases.extend(maps::all());
    cases.extend(dense::all());
    cases.extend([softmax(1, 1, 1.0), softmax(3, 10, 5.0), softmax(2, 1000, 200.0), softmax(70, 65, 1.0)]);
    cases
}

/// Cases of random shapes, in `count` rounds.
pub fn fuzzed(count: usize) -> Vec<Case> {
    let mut rng = Rng::new("ragged");
    let mut cases = Vec::new();
    for _ in 0..count {
        let mut size = |low, high| rng.between(low, high);
        cases.extend(matmuls([size(1, 140), size(1, 140), size(1, 140)]));
        cases.extend(matmuls([size(1, 140), size(1, 140), 4 * size(1, 40)]));
        cases.push(powers([size(1, 40), 4 * size(1, 35), 4 * size(1, 50)]));
        let patch = [size(1, 17), size(1, 17)];
        let image = [patch[0] * size(1, 5) + size(0, patch[0] - 1), patch[1] * size(1, 5) + size(0, patch[1] - 1)];
        let grid = [0, 1].map(|axis| image[axis].div_ceil(patch[axis]) - size(0, 1)).map(|count| count.max(1));
        cases.push(unfold([size(1, 3), size(1, 5), image[0], image[1]], patch, grid));
        cases.push(normalise([size(1, 4), size(1, 4), size(1, 30), size(1, 30)]));
        let prefix = size(0, 5);
        cases.push(embed(size(1, 3), prefix + size(1, 40), prefix, size(0, prefix), size(1, 90)));
        cases.extend(layernorm(size(1, 90), size(2, 300), 1e-6));
        let [batch, tokens, heads, head] = [size(1, 3), size(2, 150), size(1, 4), size(1, 130)];
        cases.extend(attention([batch, tokens, heads, head], size(1, tokens), 1.0));
        cases.extend(values(batch, tokens, heads, head));
        cases.push(attention_powers([batch, tokens, heads, 4 * size(1, 20)]));
        let (tokens, first) = (size(2, 50), size(0, 1)); // for `pool` and the cases below
        cases.push(pool(size(1, 4), tokens, size(1, 200), first..size(first + 1, tokens), size(1, 3)));
        cases.push(softmax(size(1, 90), size(1, 300), 4.0));
        let map = [size(1, 3), size(1, 40), size(1, 20), size(1, 20)];
        cases.extend([convolution(map, [size(1, 80), size(1, 7), size(1, 2)]), max_pool(map, size(1, 4), size(1, 3))]);
        let groups = size(1, 8);
        cases.extend(groupnorms([size(1, 3), groups * size(1, 5), size(1, 12), size(1, 12)], groups));
        cases.extend([qk_norm(batch, tokens, heads, size(2, 130)), gate(size(1, 90), size(1, 200), Activation::Silu, 3.0)]);
        let prefix = size(0, tokens - 1);
        cases.extend(rotary(batch, tokens, prefix, heads, 4 * size(1, 20)));
        cases.push(pool_max(size(1, 4), tokens, size(1, 200), first..size(first + 1, tokens)));
        cases.extend([qk_rmsnorm(batch, tokens, heads, size(2, 130)), accumulate(size(1, 5000)), gather(size(1, 5), tokens, size(1, 90))]);
        cases.extend(attention_pool(batch, tokens, prefix, heads, head, 1.0));
        let channels = size(1, 40);
        cases.extend(dense::of_map([map[0], map[2], map[3], channels], size(1, 80), size(1, 3), [size(1, 30), size(1, 30)]));
        cases.extend(maps::of_sizes([batch, tokens, heads, head], first, size(1, tokens - first)));
        cases.extend(masked([batch, tokens, heads, head], 1.0));
        cases.extend([l2_normalize(size(1, 90), size(1, 300)), average(size(1, 5000))]);
    }
    cases
}
