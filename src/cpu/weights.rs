//! A checkpoint's tensors as the twins read them.

use super::parallel::{for_each_chunk, with_workspace};
use crate::error::Result;
use crate::tensor::{Dtype, Tensor};
use half::slice::HalfFloatSliceExt;
use std::sync::Arc;

/// Rows and columns of a tile of the transposition: its two sides fit in the first-level cache.
const TILE: usize = 32;

/// Values that are widened at a time, by each core.
const RUN: usize = 1 << 14;

/// The weights by the number in [`Role::Weight`](crate::record::Role::Weight). Plans share them.
#[derive(Clone, Debug, Default)]
pub struct Weights(Vec<Arc<Kept>>);

/// A weight in memory.
#[derive(Debug)]
pub(super) enum Kept {
    /// Where it was found, or converted to f32.
    AsFound(Tensor),
    /// A factor w `[N, K]` of products, kept as `[K, N]`.
    Transposed(Factor),
}

/// The elements of a factor, in the bits that they were stored in if those are 16.
#[derive(Debug)]
pub(super) enum Factor {
    F32(Vec<f32>),
    F16(Vec<half::f16>),
    Bf16(Vec<half::bf16>),
}

impl Weights {
    /// Keeps named tensors, one after the other; those that are the right factor of products, as `is_factor` says by their
    /// names, are transposed. `gemm` packs `[N, K]` for each product anew, and slowly: ViT-B/16 took 1.6
    /// times as long with it (EPYC 9004, 2 cores, 2026-11-21). Factors of 16 bits stay so, and are widened for each
    /// product: a large model in f16 needs no more memory than its file.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn load(weights: impl IntoIterator<Item = (String, Tensor)>, is_factor: impl Fn(&str) -> bool) -> Result<Weights> {
        let kept = weights.into_iter().map(|(name, tensor)| match (tensor.shape(), is_factor(&name)) {
            (&[n, k], true) => {
                let values = tensor.finite_values(&name)?;
                let factor = match tensor.stored_dtype() {
                    Some(Dtype::F16) => Factor::F16(transposed(&values, n, k, half::f16::from_f32)),
                    Some(Dtype::Bf16) => Factor::Bf16(transposed(&values, n, k, half::bf16::from_f32)),
                    _ => Factor::F32(transposed(&values, n, k, |value| value)),
                };
                drop(values);
                tensor.release();
                Ok(Arc::new(Kept::Transposed(factor)))
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
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Kept::AsFound(tensor) => tensor.len(),
            Kept::Transposed(Factor::F32(values)) => values.len(),
            Kept::Transposed(Factor::F16(values)) => values.len(),
            Kept::Transposed(Factor::Bf16(values)) => values.len(),
        }
    }
}

impl Factor {
    /// Lends the elements as f32.
    pub fn lend<T>(&self, work: impl FnOnce(&[f32]) -> T) -> T {
        match self {
            Factor::F32(values) => work(values),
            Factor::F16(values) => widened(values, |half, wide| half.convert_to_f32_slice(wide), work),
            Factor::Bf16(values) => widened(values, |half, wide| half.convert_to_f32_slice(wide), work),
        }
    }
}

/// Lends 16-bit values as f32.
fn widened<H: Sync, T>(values: &[H], convert: impl Fn(&[H], &mut [f32]) + Sync, work: impl FnOnce(&[f32]) -> T) -> T {
    with_workspace(values.len(), |wide| {
        for_each_chunk(wide, RUN, |i, wide| convert(&values[i * RUN..][..wide.len()], wide));
        work(wide)
    })
}

/// `values` `[n, k]` as `[k, n]`.
fn transposed<V: Copy + Default + Send>(values: &[f32], n: usize, k: usize, narrow: impl Fn(f32) -> V + Sync) -> Vec<V> {
    let mut result = vec![V::default(); n * k];
    for_each_chunk(&mut result, TILE * n, |block, rows| {
        let (first, count) = (block * TILE, rows.len() / n);
        for column in (0..n).step_by(TILE) {
            for i in column..n.min(column + TILE) {
                for j in 0..count {
                    rows[j * n + i] = narrow(values[i * k + first + j]);
                }
            }
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_moves_every_element() {
        let (n, k) = (70, 45);
        let values: Vec<f32> = (0..n * k).map(|value| value as f32).collect();
        let result = transposed(&values, n, k, |value| value);
        assert!((0..n * k).all(|i| result[i] == values[i % n * k + i / n]));
    }
}
