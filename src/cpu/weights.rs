//! A checkpoint's tensors as the twins read them.

use super::parallel::for_each_chunk;
use crate::error::Result;
use crate::tensor::Tensor;

/// Rows and columns of a tile of the transposition: its two sides fit in the first-level cache.
const TILE: usize = 32;

/// The weights by the number in [`Role::Weight`](crate::record::Role::Weight). Plans share them.
#[derive(Debug, Default)]
pub struct Weights(Vec<Kept>);

#[derive(Debug)]
enum Kept {
    /// Where it was found, or converted to f32.
    AsFound(Tensor),
    /// A factor w `[N, K]` of products, kept as `[K, N]`.
    Transposed(Vec<f32>),
}

impl Weights {
    /// Keeps named tensors; those that are the right factor of products, as `is_factor` says by their
    /// names, are transposed. `gemm` packs `[N, K]` for each product anew, and slowly: ViT-B/16 took 1.6
    /// times as long with it (EPYC 9004, 2 cores, 2026-11-21).
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn load(weights: impl IntoIterator<Item = (String, Tensor)>, is_factor: impl Fn(&str) -> bool) -> Result<Weights> {
        let kept = weights.into_iter().map(|(name, tensor)| match (tensor.shape(), is_factor(&name)) {
            (&[n, k], true) => {
                let transposed = transposed(&tensor.finite_values(&name)?, n, k);
                tensor.release();
                Ok(Kept::Transposed(transposed))
            }
            _ => Ok(Kept::AsFound(tensor.materialized(&name)?)),
        });
        Ok(Weights(kept.collect::<Result<_>>()?))
    }

    /// A weight's elements, and whether they are transposed.
    pub(super) fn get(&self, number: usize) -> (&[f32], bool) {
        match &self.0[number] {
            Kept::AsFound(tensor) => (tensor.slice(), false),
            Kept::Transposed(values) => (values, true),
        }
    }
}

fn transposed(values: &[f32], n: usize, k: usize) -> Vec<f32> {
    let mut result = vec![0.0; n * k];
    for_each_chunk(&mut result, TILE * n, |block, rows| {
        let (first, count) = (block * TILE, rows.len() / n);
        for column in (0..n).step_by(TILE) {
            for i in column..n.min(column + TILE) {
                for j in 0..count {
                    rows[j * n + i] = values[i * k + first + j];
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
        let result = transposed(&values, n, k);
        assert!((0..n * k).all(|i| result[i] == values[i % n * k + i / n]));
    }
}
