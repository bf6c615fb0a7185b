//! Updates of low rank.

use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::cpu::for_each_chunk;

/// An update of a weight `[out, …]`: `scale` · B · A.
pub struct LowRank {
    scale: f64,
    /// A, `[r, …]`.
    down: Tensor,
    /// B, `[out, r]`, or of a convolution `[out, r, 1, 1]`.
    up: Tensor,
}

impl LowRank {
    /// Returns the update of a weight of shape `base`. `name` is that of A.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the shapes do not match.
    pub fn new(name: &str, scale: f64, [down, up]: [Tensor; 2], base: &[usize]) -> Result<LowRank> {
        let fits = match (base, down.shape(), up.shape()) {
            ([out, columns @ ..], [rank, inner @ ..], [rows, width, ones @ ..]) => {
                let is_whole = |axes: &[usize]| axes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
                *rank > 0 && rows == out && width == rank && ones.iter().all(|&size| size == 1) && is_whole(columns) == is_whole(inner)
            }
            _ => false,
        };
        match fits {
            true => Ok(LowRank { scale, down, up }),
            false => {
                Err(Error::tensor(name, format!("expected factors of a tensor of shape {base:?}, found {:?} and {:?}", down.shape(), up.shape())))
            }
        }
    }

    /// Returns the weight with the update, computed in f64 and rounded once.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a value is not finite; [`Error::Io`] if the values cannot be read.
    pub fn added(&self, name: &str, base: &Tensor) -> Result<Tensor> {
        let mut values = base.finite_values(name)?.into_owned();
        let [down, up] = [&self.down, &self.up].map(|factor| factor.finite_values(&format!("{name}, in the adapter")));
        let (down, up) = (down?, up?);
        let rank = self.down.shape()[0];
        let columns = down.len() / rank;
        if columns > 0 {
            for_each_chunk(&mut values, columns, |i, row| {
                let mut sums = vec![0.0; columns];
                for (factor, terms) in up[i * rank..][..rank].iter().zip(down.chunks(columns)) {
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += f64::from(*factor) * f64::from(*term));
                }
                row.iter_mut().zip(sums).for_each(|(value, sum)| *value = (f64::from(*value) + self.scale * sum) as f32);
            });
        }
        base.release();
        Tensor::new(base.shape(), values)
    }
}
