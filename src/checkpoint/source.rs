//! Where a weight of the model is found in a checkpoint. A family's table is a [`Weights`] of these.

use super::files::Files;
use super::position::resample;
use super::weights::{Linear, Norm, Weight, Weights};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A weight's place.
#[derive(Clone, Debug)]
pub enum Source {
    /// Stored tensors, each of a shape of its own, that follow one another; `shape` is that of all together.
    Stored { parts: Vec<(String, Vec<usize>)>, shape: Vec<usize> },
    /// Not in the checkpoint, and zero: a bias that the model does not have.
    Zeros { shape: Vec<usize> },
    /// A position table of `prefix` rows and a square grid, resampled to each grid in turn.
    Positions { name: String, prefix: usize, width: usize, grids: Vec<[usize; 2]> },
}

impl Source {
    /// A single tensor.
    pub fn stored(name: impl Into<String>, shape: &[usize]) -> Source {
        Source::Stored { parts: vec![(name.into(), shape.to_vec())], shape: shape.to_vec() }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Source::Stored { parts, .. } => parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" + "),
            Source::Zeros { .. } => "zeros".to_owned(),
            Source::Positions { name, .. } => name.clone(),
        }
    }

    /// The shape that the model needs.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Source::Stored { shape, .. } | Source::Zeros { shape } => shape.clone(),
            Source::Positions { prefix, width, grids, .. } => vec![prefix + patches(grids), *width],
        }
    }

    /// Finds the weight.
    fn load(&self, files: &Files) -> Result<Weight> {
        let tensor = match self {
            Source::Zeros { shape } => Tensor::zeros(shape.clone()),
            Source::Stored { parts, shape } => {
                let tensors = parts.iter().map(|(name, shape)| files.shaped(name, shape)).collect::<Result<_>>()?;
                Tensor::concatenated(shape.clone(), tensors)
            }
            Source::Positions { name, prefix, width, grids } => positions(files, name, *prefix, *width, grids)?,
        };
        Ok(Weight { name: self.name(), tensor, stored: !matches!(self, Source::Zeros { .. }) })
    }
}

/// Patches of the grid that the model runs at.
fn patches(grids: &[[usize; 2]]) -> usize {
    let [height, width] = grids.last().expect("a grid to resample to");
    height * width
}

fn positions(files: &Files, name: &str, prefix: usize, width: usize, grids: &[[usize; 2]]) -> Result<Tensor> {
    let found = files.shape(name)?;
    let rows = found.iter().product::<usize>() / width;
    let table = files.shaped(name, &[rows, width])?;
    if grids.iter().all(|grid| prefix + grid[0] * grid[1] == rows) {
        return Ok(table);
    }
    let side = rows.saturating_sub(prefix).isqrt();
    if side == 0 || prefix + side * side != rows {
        let expected = prefix + patches(grids);
        return Err(Error::tensor(
            name,
            format!("expected {expected} rows for the image's grid of patches, or a square grid to resample; found {rows}"),
        ));
    }
    let values = table.values();
    let (front, grid_values) = values.split_at(prefix * width);
    let (resampled, _) = grids.iter().fold((grid_values.to_vec(), [side, side]), |(table, from), &to| (resample(&table, width, from, to), to));
    Tensor::new([prefix + patches(grids), width], [front, &resampled].concat())
}

/// A dense layer `name.weight` `[out, in]` and `name.bias` `[out]`, which may be absent from the model.
pub fn linear(name: &str, [out, input]: [usize; 2], has_bias: bool) -> Linear<Source> {
    let bias = match has_bias {
        true => Source::stored(format!("{name}.bias"), &[out]),
        false => Source::Zeros { shape: vec![out] },
    };
    Linear { weight: Source::stored(format!("{name}.weight"), &[out, input]), bias }
}

/// The patch projection, a convolution `name.weight` `[C, channels, patch height, patch width]`, as the
/// dense layer of flattened patches that it is.
pub fn patch_projection(name: &str, config: &Config, has_bias: bool) -> Linear<Source> {
    let stored = vec![config.width, config.channels, config.patch[0], config.patch[1]];
    let layer = linear(name, [config.width, config.patch_values()], has_bias);
    let weight = Source::Stored { parts: vec![(format!("{name}.weight"), stored)], shape: vec![config.width, config.patch_values()] };
    Linear { weight, ..layer }
}

/// A LayerNorm `name.weight` and `name.bias`, both `[width]`.
pub fn norm(name: &str, width: usize) -> Norm<Source> {
    Norm { weight: Source::stored(format!("{name}.weight"), &[width]), bias: Source::stored(format!("{name}.bias"), &[width]) }
}

impl Weights<Source> {
    /// Finds each weight.
    ///
    /// # Errors
    /// [`Error::Tensor`] for one that is missing, or of another shape or type.
    pub fn load(self, files: &Files) -> Result<Weights<Weight>> {
        self.try_map(|source| source.load(files))
    }
}
