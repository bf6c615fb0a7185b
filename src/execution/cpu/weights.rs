//! A checkpoint's tensors as the twins read them.

use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::panels::Packed;
use crate::data::tensor::{Dtype, Tensor};
use std::sync::Arc;

/// The weights by the number in [`Role::Weight`](crate::data::record::Role::Weight). Plans share them.
#[derive(Clone, Debug, Default)]
pub struct Weights(Vec<Arc<Kept>>);

/// A weight in memory.
#[derive(Debug)]
pub(super) enum Kept {
    /// Where it was found, or converted to f32.
    AsFound(Tensor),
    /// A factor w `[N, K]` of products, in panels.
    Packed(Packed),
}

impl Weights {
    /// Keeps named tensors, one after the other; those that are the right factor of products, as `factor` says by their
    /// names, in panels. Factors of 16 bits stay so, and are widened panel by panel in each product: a large model in f16
    /// needs no more memory than its file.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn load(weights: impl IntoIterator<Item = (String, Tensor)>, factor: impl Fn(&str) -> Option<Precision>) -> Result<Weights> {
        let kept = weights.into_iter().map(|(name, tensor)| match (tensor.shape(), factor(&name)) {
            (&[n, k], Some(precision)) => {
                let values = tensor.finite_values(&name)?;
                let packed = match (tensor.stored_dtype(), precision) {
                    (Some(Dtype::F16), Precision::F32) => Packed::new(&values, [n, k], Precision::F16),
                    (Some(Dtype::Bf16), Precision::F32) => Packed::bf16(&values, [n, k]),
                    _ => Packed::new(&values, [n, k], precision),
                };
                drop(values);
                tensor.release();
                Ok(Arc::new(Kept::Packed(packed)))
            }
            _ => Ok(Arc::new(Kept::AsFound(tensor.materialized(&name)?))),
        });
        Ok(Weights(kept.collect::<Result<_>>()?))
    }

    /// These, and then those.
    pub fn joined(&self, others: &Weights) -> Weights {
        Weights(self.0.iter().chain(&others.0).cloned().collect())
    }

    pub(super) fn get(&self, number: usize) -> &Kept {
        &self.0[number]
    }
}

impl Kept {
    /// Number of elements, padding included.
    pub fn len(&self) -> usize {
        match self {
            Kept::AsFound(tensor) => tensor.len(),
            Kept::Packed(packed) => packed.len(),
        }
    }
}
