//! Convolutions with the batch norm that follows them (Ioffe and Szegedy 2015) folded in: y = (x - mean) / sqrt(variance + epsilon) · weight + bias, with the
//! statistics of training.

use super::files::Files;
use super::source::{Part, Source};
use super::weights::Linear;
use crate::data::error::Result;
use crate::data::tensor::Tensor;

/// Added to the variance; torch's default.
const EPSILON: f64 = 1e-5;

/// A convolution's weight or bias with a batch norm folded in.
#[derive(Clone, Debug)]
pub struct Normed {
    /// The weight or bias, then the norm's weight and variance, and for a bias also its mean and bias.
    parts: Vec<Part>,
    shape: Vec<usize>,
}

impl Normed {
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn is_bias(&self) -> bool {
        self.shape.len() == 1
    }

    /// Number of learned values: the norm's weight is counted with the convolution's weight, and its bias with the bias.
    pub fn parameters(&self) -> usize {
        let learned = if self.is_bias() { [0, 4] } else { [0, 1] };
        learned.iter().map(|&part| self.parts[part].parameters()).sum()
    }

    /// Loads the values, folded in f64.
    pub fn load(&self, files: &Files) -> Result<Tensor> {
        let values = |part: &Part| {
            let values = part.load(files)?.finite_values(part.name().unwrap_or("zeros"))?.into_owned();
            Ok(values.into_iter().map(f64::from).collect::<Vec<f64>>())
        };
        let parts = self.parts.iter().map(values).collect::<Result<Vec<_>>>()?;
        let factors: Vec<f64> = parts[1].iter().zip(&parts[2]).map(|(weight, variance)| weight / (variance + EPSILON).sqrt()).collect();
        let folded: Vec<f64> = match self.is_bias() {
            true => (0..factors.len()).map(|i| (parts[0][i] - parts[3][i]) * factors[i] + parts[4][i]).collect(),
            false => {
                let row = parts[0].len() / factors.len();
                parts[0].iter().enumerate().map(|(i, value)| value * factors[i / row]).collect()
            }
        };
        Tensor::new(self.shape.as_slice(), folded.into_iter().map(|value| value as f32).collect())
    }
}

/// [`convolution`] of 3 × 3 pixels.
pub fn conv3x3(name: &str, [outputs, inputs]: [usize; 2], has_bias: bool, norm: Option<&str>) -> Linear<Source> {
    convolution(name, [outputs, inputs, 3], has_bias, norm)
}

/// A convolution `name.weight` `[outputs, inputs, size, size]`, with `name.bias` `[outputs]` if `has_bias`, as a dense layer on windows of channels-last maps; with the batch
/// norm `norm` folded in, if there is one.
pub fn convolution(name: &str, [outputs, inputs, size]: [usize; 3], has_bias: bool, norm: Option<&str>) -> Linear<Source> {
    let weight = Part::permuted(format!("{name}.weight"), &[outputs, inputs, size, size], &[0, 2, 3, 1]);
    let bias = if has_bias { Part::new(format!("{name}.bias"), &[outputs]) } else { Part::Zeros(outputs) };
    let shape = [outputs, size * size * inputs];
    let Some(norm) = norm else { return Linear { weight: Source::of(vec![weight], &shape), bias: Source::of(vec![bias], &[outputs]) } };
    let of_norm = |names: &[&str]| names.iter().map(|part| Part::new(format!("{norm}.{part}"), &[outputs])).collect::<Vec<_>>();
    let with =
        |part: Part, names: &[&str], shape: &[usize]| Source::Normed(Normed { parts: [vec![part], of_norm(names)].concat(), shape: shape.to_vec() });
    Linear {
        weight: with(weight, &["weight", "running_var"], &shape),
        bias: with(bias, &["weight", "running_var", "running_mean", "bias"], &[outputs]),
    }
}
