//! Scaling of channels between a norm and the product behind it, so that int8 quantises no channel beside much larger ones.
//!
//! The norm's scale and bias are divided by a factor for each channel, and the columns of the weight multiplied by it, which changes nothing in real
//! numbers. As in SmoothQuant (Xiao et al. 2023, section 4), the factors share the spread between both, but they need no data: a norm's output has mean
//! β and standard deviation about |γ|, so three deviations stand for its largest magnitude.

use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::tensor::Tensor;
use crate::execution::checkpoint::{Linear, Norm, Weight, Weights};
use std::collections::HashMap;
use std::sync::Arc;

/// Share of the spread that moves from the activations to the weights. Of the shares from 0.5 to 1, errors of DINOv2-S were smallest with this one.
const SHARE: f32 = 0.75;

/// Changes of tensors, by name.
#[derive(Debug, Default)]
pub struct Smoothing(HashMap<String, Change>);

/// Change of a tensor along its last axis.
#[derive(Clone, Debug)]
enum Change {
    Divide(Arc<[f32]>),
    Multiply(Arc<[f32]>),
}

impl Smoothing {
    /// Finds the factors for the products in int8 of pre-norm blocks.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a weight is not finite.
    pub fn new(weights: &Weights<Weight>, precisions: &HashMap<String, Precision>) -> Result<Smoothing> {
        let mut changes = HashMap::new();
        // A norm that several products read is not scaled for one of them.
        let blocks = weights.blocks.iter().chain(&weights.beside);
        let pairs = blocks.filter_map(|block| Some([(&block.norm1, &block.qkv), (block.norm2.as_ref()?, &block.mlp1)])).flatten();
        for (norm, linear) in pairs.filter(|(_, linear)| precisions.get(&linear.weight.name) == Some(&Precision::Int8)) {
            let factors: Arc<[f32]> = factors(norm, linear)?.into();
            changes.insert(norm.weight.name.clone(), Change::Divide(factors.clone()));
            changes.extend(norm.bias.as_ref().map(|bias| (bias.name.clone(), Change::Divide(factors.clone()))));
            changes.insert(linear.weight.name.clone(), Change::Multiply(factors));
        }
        Ok(Smoothing(changes))
    }

    /// Returns a tensor as it is to be loaded.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn apply(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let Some(change) = self.0.get(name) else { return Ok(tensor) };
        let mut values = tensor.finite_values(name)?.into_owned();
        tensor.release();
        let (Change::Divide(factors) | Change::Multiply(factors)) = change;
        for row in values.chunks_mut(factors.len()) {
            let pairs = row.iter_mut().zip(factors.iter());
            match change {
                Change::Divide(_) => pairs.for_each(|(value, factor)| *value /= factor),
                Change::Multiply(_) => pairs.for_each(|(value, factor)| *value *= factor),
            }
        }
        Tensor::new(tensor.shape(), values)
    }
}

/// Returns the factor of each channel, by which the norm's output is divided.
fn factors(norm: &Norm<Weight>, linear: &Linear<Weight>) -> Result<Vec<f32>> {
    let [scale, weight] = [&norm.weight, &linear.weight].map(|weight| weight.tensor.finite_values(&weight.name));
    let (scale, weight) = (scale?, weight?);
    let bias = norm.bias.as_ref().map(|bias| bias.tensor.finite_values(&bias.name)).transpose()?;
    let bias = bias.as_deref().map_or_else(|| vec![0.0; scale.len()], <[f32]>::to_vec);
    let mut largest = vec![0.0f32; scale.len()];
    for row in weight.chunks(scale.len()) {
        largest.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(value.abs()));
    }
    let factor = |((scale, bias), largest): ((&f32, &f32), &f32)| {
        let factor = (3.0 * scale.abs() + bias.abs()).powf(SHARE) / largest.powf(1.0 - SHARE);
        // Channels that are always zero, or have no weight, stay as they are.
        if factor.is_normal() { factor } else { 1.0 }
    };
    let factors = scale.iter().zip(bias.iter()).zip(&largest).map(factor).collect();
    drop(weight);
    linear.weight.tensor.release();
    Ok(factors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(name: &str, shape: &[usize], values: &[f32]) -> Weight {
        Weight { name: name.to_owned(), tensor: Tensor::new(shape, values.to_vec()).expect("a tensor"), learned: values.len() }
    }

    #[test]
    fn outlier_channels_are_scaled_down_and_dead_ones_stay() {
        let norm = Norm { weight: weight("n.w", &[3], &[100.0, 1.0, 0.0]), bias: Some(weight("n.b", &[3], &[0.0, 0.5, 0.0])) };
        let linear = Linear { weight: weight("w", &[2, 3], &[1.0, -2.0, 3.0, 0.5, 1.0, 0.0]), bias: weight("b", &[2], &[0.0; 2]) };
        let factors = factors(&norm, &linear).expect("finite values");
        assert!((factors[0] - 300f32.powf(0.75)).abs() < 1e-3 && (factors[1] - (3.5f32.powf(0.75) / 2f32.powf(0.25))).abs() < 1e-5, "{factors:?}");
        assert_eq!(factors[2], 1.0);

        let factors: Arc<[f32]> = factors.into();
        let changes = [("n.w", Change::Divide(factors.clone())), ("w", Change::Multiply(factors))];
        let smoothing = Smoothing(changes.map(|(name, change)| (name.to_owned(), change)).into());
        let applied = |weight: &Weight| smoothing.apply(&weight.name, weight.tensor.clone()).expect("finite values").values().into_owned();
        let (scale, w) = (applied(&norm.weight), applied(&linear.weight));
        let before = linear.weight.tensor.values();
        for (i, (w, before)) in w.iter().zip(before.iter()).enumerate() {
            let (product, wanted) = (scale[i % 3] * w, norm.weight.tensor.values()[i % 3] * before);
            assert!((product - wanted).abs() <= 1e-5 * wanted.abs(), "{product} instead of {wanted}");
        }
        assert_eq!(applied(&linear.bias), [0.0; 2]);
    }
}
