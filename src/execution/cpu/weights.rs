//! A checkpoint's tensors in the layout that the twins read.

use super::instructions::{for_f32, for_int16};
use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::panels::{self, Packed};
use crate::data::tensor::{Dtype, Tensor};
use std::sync::Arc;

/// Values loaded at a time: enough that no core waits for another, and few, as those that are converted take 4 bytes each meanwhile.
const AT_ONCE: usize = 1 << 24;

/// Weights, indexed by the number in [`Role::Weight`](crate::data::record::Role::Weight). Plans share them.
#[derive(Clone, Debug, Default)]
pub struct Weights(Vec<Arc<Kept>>);

/// A weight in host memory.
#[derive(Debug)]
pub(super) enum Kept {
    /// In its original place, or converted to f32.
    AsFound(Tensor),
    /// The rhs w `[N, K]` of products, in panels.
    Packed(Packed),
}

impl Weights {
    /// Loads named tensors in order. Those for which `factor` returns a precision are the rhs of products and are packed into panels. If that
    /// precision is f32, 16-bit factors stay 16-bit and each product widens them panel by panel: a large f16 model needs no more memory than its
    /// file. If it is f16, processors that multiply 16-bit integers get these instead, unless `keeps_f16` asks for what a GPU multiplies.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn load(
        weights: impl IntoIterator<Item = Result<(String, Tensor)>>,
        factor: impl Fn(&str) -> Option<Precision> + Sync,
        keeps_f16: bool,
    ) -> Result<Weights> {
        use rayon::prelude::*;
        let uses_integers = !keeps_f16 && for_int16().is_some();
        let (mut weights, mut all) = (weights.into_iter(), Vec::new());
        loop {
            let (mut some, mut values) = (Vec::new(), 0);
            while values < AT_ONCE
                && let Some(weight) = weights.next()
            {
                let (name, tensor) = weight?;
                values += tensor.len();
                // A file that was given is read by this thread: in a browser, no other can.
                some.push((name, tensor.in_memory()?));
            }
            if some.is_empty() {
                return Ok(Weights(all));
            }
            let kept: Vec<Result<Kept>> = some.into_par_iter().map(|(name, tensor)| Kept::new(&name, tensor, factor(&name), uses_integers)).collect();
            for kept in kept {
                all.push(Arc::new(kept?));
            }
        }
    }

    /// Returns these weights followed by `others`.
    pub fn joined(&self, others: &Weights) -> Weights {
        Weights(self.0.iter().chain(&others.0).cloned().collect())
    }

    pub(super) fn get(&self, number: usize) -> &Kept {
        &self.0[number]
    }
}

impl Kept {
    fn new(name: &str, tensor: Tensor, factor: Option<Precision>, uses_integers: bool) -> Result<Kept> {
        let (&[n, k], Some(precision)) = (tensor.shape(), factor) else {
            return Ok(Kept::AsFound(tensor.materialized(name)?));
        };
        let values = tensor.finite_values(name)?;
        panels::warn_if_clamped(name, &values, precision);
        let packed = match (tensor.stored_dtype(), precision) {
            (Some(Dtype::F16), Precision::F32) => Packed::new(&values, [n, k], Precision::F16),
            (Some(Dtype::Bf16), Precision::F32) => Packed::bf16(&values, [n, k]),
            (_, Precision::F16) if uses_integers => Packed::int16(&values, [n, k]),
            (_, Precision::F32) if for_f32().is_some() => Packed::strips(&values, [n, k]),
            _ => Packed::new(&values, [n, k], precision),
        };
        drop(values);
        tensor.release();
        Ok(Kept::Packed(packed))
    }

    /// Returns the number of elements, padding included.
    pub fn len(&self) -> usize {
        match self {
            Kept::AsFound(tensor) => tensor.len(),
            Kept::Packed(packed) => packed.len(),
        }
    }
}
