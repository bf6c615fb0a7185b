//! Compares a device's kernel calls with their twins on the same inputs.

use crate::data::bf16;
use crate::data::capabilities::Precision;
use crate::data::int8::{WORD, integers, words_of_row};
use crate::data::record::{BufferInfo, Dispatch, Recording};
use crate::execution::cpu;

/// Difference between a kernel call's result and its twin's.
#[derive(Clone, Debug)]
pub struct Step {
    /// Label of the call, such as `block3.mlp1`.
    pub label: String,
    /// Kernel name.
    pub kernel: &'static str,
    /// Largest difference. For 8-bit integers: the share that is off by one, or infinity if any is further off.
    pub error: f64,
    /// Largest permitted error.
    pub bound: f64,
    /// Part of the bound for two close f16 results that are rounded in opposite directions; 0 for other results.
    pub rounding: f64,
}

impl Step {
    /// Returns whether the error is within the bound.
    pub fn is_right(&self) -> bool {
        self.error <= self.bound
    }
}

/// Relative rounding errors of f32 and of f16, to which cooperative matrices round their factors.
const ROUNDINGS: [f32; 2] = [f32::EPSILON, 1.0 / 2048.0];

/// Compares every call of a recording with its twin. `got` holds the outputs of the device's kernels ([`Recording::traced`]).
pub(super) fn steps(recording: &Recording, mut twins: cpu::Plan, inputs: &[&[f32]], got: &[Vec<f32>]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut all = got.iter();
    twins.follow(inputs, got, &ROUNDINGS, |dispatch, expected, nearby| {
        let view = dispatch.written();
        let got = &all.next().expect("one for each dispatch")[view.offset..view.offset + view.len];
        let info = &recording.buffers()[view.buf.index()];
        let (error, bound, rounding) = match info.precision {
            Precision::Int8 => {
                let (error, bound) = integers_apart(got, expected, *info.shape.last().expect("an axis"));
                (error, bound, 0.0)
            }
            Precision::Bf16 => {
                let [got, expected] = [got, expected].map(numbers);
                // One unit, where a rounding of x decides between two numbers.
                let rounding = largest(&expected) / 128.0;
                (apart(&got, &expected), rounding, rounding)
            }
            precision => {
                // Half a unit each.
                let rounding = if precision == Precision::F16 { largest(expected) / 1024.0 } else { 0.0 };
                (apart(got, expected), bound(dispatch, info, expected, nearby) + rounding, rounding)
            }
        };
        steps.push(Step { label: dispatch.label.clone(), kernel: dispatch.kernel.name, error, bound, rounding });
    });
    steps
}

/// Returns the numbers of words of bf16.
fn numbers(words: &[f32]) -> Vec<f32> {
    words.iter().flat_map(|word| bf16::numbers(word.to_bits())).collect()
}

/// Largest finite magnitude.
fn largest(values: &[f32]) -> f64 {
    values.iter().filter(|value| value.is_finite()).fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())))
}

/// Error bound of a correct kernel: the effect of rounding its inputs and its sums. The effect of one rounding of all inputs is measured by running
/// the twin on perturbed values. In a sum of t terms, t roundings of half a unit each add up like a random walk, to about half of sqrt(t). Twice that
/// is allowed, plus 8 for exp, division and the like.
fn bound(dispatch: &Dispatch, BufferInfo { shape, .. }: &BufferInfo, expected: &[f32], nearby: &[Vec<f32>]) -> f64 {
    let written = expected.len();
    let read = dispatch.views.iter().map(|view| view.len).sum::<usize>() - written;
    let terms = (dispatch.flops as usize / 2 / written).max(read / written).max(*shape.last().expect("an axis"));
    let largest = largest(expected);
    let [rounded, halved] = [0, 1].map(|i| finite_apart(&nearby[i], expected));
    let bound = (8.0 + (terms as f64).sqrt()) * (f64::from(f32::EPSILON) * largest + rounded);
    // Attention weights are also rounded to f16, and their sum is off by as much.
    let is_of_f16 = dispatch.kernel.needs.cooperative > 0 && dispatch.views.iter().any(|view| view.bits == 16);
    if is_of_f16 { bound + 4.0 * halved + largest / 1024.0 } else { bound }
}

/// Returns the largest difference; infinity where exactly one value is NaN.
pub(super) fn apart(got: &[f32], expected: &[f32]) -> f64 {
    let apart = |(got, expected): (&f32, &f32)| {
        if got == expected || got.is_nan() && expected.is_nan() {
            return 0.0;
        }
        let difference = (f64::from(*got) - f64::from(*expected)).abs();
        if difference.is_nan() { f64::INFINITY } else { difference }
    };
    got.iter().zip(expected).map(apart).fold(0.0, f64::max)
}

fn finite_apart(got: &[f32], expected: &[f32]) -> f64 {
    let apart = |(got, expected): (&f32, &f32)| (f64::from(*got) - f64::from(*expected)).abs();
    got.iter().zip(expected).map(apart).filter(|apart| apart.is_finite()).fold(0.0, f64::max)
}

/// Returns the share of 8-bit integers that are off by one, and its bound. Rows consist of words, and the scales of their blocks. The share is
/// infinite if an integer is further off, or a scale by more than a few roundings. A value within a rounding of the midpoint between two integers may
/// go either way: with 127 steps per side, about one in ten thousand.
fn integers_apart(got: &[f32], expected: &[f32], width: usize) -> (f64, f64) {
    let words = words_of_row(width);
    let count = (got.len() / width * words * WORD) as f64;
    let rows = got.chunks(width).zip(expected.chunks(width));
    let of_row = |(got, expected): (&[f32], &[f32])| {
        let differs = |(got, scale): (&f32, &f32)| (got - scale).abs() > 8.0 * f32::EPSILON * scale.abs() || got.is_nan() != scale.is_nan();
        if got[words..].iter().zip(&expected[words..]).any(differs) {
            return f64::INFINITY;
        }
        let steps = got[..words].iter().zip(expected).flat_map(|(got, expected)| {
            let (got, expected): ([f32; WORD], [f32; WORD]) = (integers(got.to_bits()), integers(expected.to_bits()));
            (0..WORD).map(move |i| (got[i] - expected[i]).abs())
        });
        steps.map(|steps| if steps > 1.0 { f64::INFINITY } else { f64::from(steps) }).sum()
    };
    (rows.map(of_row).sum::<f64>() / count, (3.0 + count / 1000.0) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmatched_nan_is_reported_as_infinite_error() {
        assert_eq!(apart(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
        assert_eq!(apart(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(apart(&[1.0], &[f32::NAN]), f64::INFINITY);
        assert_eq!(apart(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]), 0.0);
        assert_eq!(apart(&[f32::NEG_INFINITY], &[f32::INFINITY]), f64::INFINITY);
    }

    #[test]
    fn int8_rows_tolerate_rare_off_by_one_values() {
        let row = |bytes: [i8; 4], scale: f32| [f32::from_bits(u32::from_le_bytes(bytes.map(|byte| byte as u8))), scale];
        let share = |a: [f32; 2], b: [f32; 2]| integers_apart(&a, &b, 2).0;
        assert_eq!(share(row([1, -2, 3, 4], 0.5), row([1, -2, 3, 4], 0.5)), 0.0);
        assert_eq!(share(row([1, -2, 3, 4], 0.5), row([1, -3, 3, 4], 0.5)), 0.25);
        assert_eq!(share(row([1, -2, 3, 127], 0.5), row([1, -2, 3, -127], 0.5)), f64::INFINITY);
        assert_eq!(share(row([0; 4], 0.5), row([0; 4], 0.501)), f64::INFINITY);
        assert_eq!(share(row([0; 4], f32::NAN), row([0; 4], 0.5)), f64::INFINITY);
        let (mut half, all) = (vec![f32::from_bits(0x0101_0000); 1125], vec![0.0; 1125]);
        half[1000..].fill(0.0);
        let (error, bound) = integers_apart(&half, &all, 1125);
        assert!(error > 50.0 * bound, "half of them cut rather than rounded: {error} of {bound}");
    }
}
