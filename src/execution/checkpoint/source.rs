//! Where a weight of the model is found in a checkpoint. A family's table is a [`Weights`] of these.

use super::files::Files;
use super::position::{PositionTable, Resampling};
use super::weights::{Linear, Norm, Weight, Weights};
use crate::data::config::{Config, Layout, Patches};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use std::ops::Range;

/// What keeps a channel's deviation from being 0 when its convolution is standardised (BiT's value).
const STANDARDISATION_EPSILON: f64 = 1e-8;

/// A stored tensor, or some of it; or nothing.
#[derive(Clone, Debug)]
pub enum Part {
    /// In the checkpoint.
    Stored {
        name: String,
        /// The shape that is stored.
        shape: Vec<usize>,
        /// Only these rows.
        rows: Option<Range<usize>>,
        /// Whether that is one row of a stack of tensors, whose first axis is not the tensor's.
        stacked: bool,
        /// The order in which its axes are read.
        axes: Option<&'static [usize]>,
    },
    /// Not in the checkpoint, and zero: a bias that the model does not have.
    Zeros(usize),
}

impl Part {
    /// A whole tensor.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: None, stacked: false, axes: None }
    }

    /// Some rows of a tensor.
    pub fn of_rows(name: impl Into<String>, shape: &[usize], rows: Range<usize>) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: Some(rows), stacked: false, axes: None }
    }

    /// A tensor read with axis i of the result being axis `axes[i]` of what is stored.
    pub fn permuted(name: impl Into<String>, shape: &[usize], axes: &'static [usize]) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: None, stacked: false, axes: Some(axes) }
    }

    /// The same tensor where `count` of them are stored as one, and it is number `i`.
    pub fn in_stack(self, i: usize, count: usize) -> Part {
        match self {
            Part::Stored { name, shape, axes, .. } => {
                Part::Stored { name, shape: [&[count], shape.as_slice()].concat(), rows: Some(i..i + 1), stacked: true, axes }
            }
            zeros @ Part::Zeros(_) => zeros,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Part::Stored { name, .. } => Some(name),
            Part::Zeros(_) => None,
        }
    }

    /// How many stored values it has.
    fn parameters(&self) -> usize {
        match self {
            Part::Zeros(_) => 0,
            Part::Stored { shape, rows: Some(rows), .. } => shape[1..].iter().product::<usize>() * rows.len(),
            Part::Stored { shape, .. } => shape.iter().product(),
        }
    }

    fn load(&self, files: &Files) -> Result<Tensor> {
        let (name, shape, rows, stacked, axes) = match self {
            Part::Zeros(len) => return Ok(Tensor::zeros([*len])),
            Part::Stored { name, shape, rows, stacked, axes } => (name, shape, rows, *stacked, axes),
        };
        let mut tensor = files.shaped(name, shape)?;
        if let Some(rows) = rows {
            tensor = tensor.rows(rows.clone());
        }
        if stacked {
            tensor = tensor.reshaped(shape[1..].to_vec());
        }
        Ok(match axes {
            Some(axes) => tensor.permuted(axes),
            None => tensor,
        })
    }
}

/// A weight's place.
#[derive(Clone, Debug)]
pub enum Source {
    /// Tensors that follow one another; `shape` is that of all together.
    Stored { parts: Vec<Part>, shape: Vec<usize> },
    /// A convolution that may be stored as the matrix that it is, as old files of timm have it.
    Flattened { part: Part, stored: [usize; 4], shape: [usize; 2] },
    /// A convolution whose weights are standardised for each output channel: mean 0, deviation 1 (Qiao et al. 2019).
    Standardised { part: Part, shape: Vec<usize> },
    /// Prefix tokens `[T, C]`, with the first rows of a position table added to as many of them.
    Prefix { tokens: Vec<Part>, table: String, positions: usize, shape: [usize; 2] },
}

impl Source {
    /// Tensors that follow one another, under the shape of all together.
    pub fn of(parts: Vec<Part>, shape: &[usize]) -> Source {
        Source::Stored { parts, shape: shape.to_vec() }
    }

    /// A single tensor.
    pub fn stored(name: impl Into<String>, shape: &[usize]) -> Source {
        Source::of(vec![Part::new(name, shape)], shape)
    }

    /// A bias that the model does not have.
    pub fn zeros(len: usize) -> Source {
        Source::of(vec![Part::Zeros(len)], &[len])
    }

    /// Prefix tokens `[T, C]`, the first `positions` of which have a row in front of the position table; nothing if T is 0.
    pub fn prefix(tokens: Vec<Part>, table: &str, positions: usize, shape: [usize; 2]) -> Option<Source> {
        (shape[0] > 0).then(|| Source::Prefix { tokens, table: table.to_owned(), positions, shape })
    }

    /// The weight of a convolution, `[out, in, height, width]`, before its standardisation.
    pub fn standardised(part: Part, shape: [usize; 4]) -> Source {
        Source::Standardised { part, shape: shape.to_vec() }
    }

    fn parts(&self) -> &[Part] {
        match self {
            Source::Stored { parts, .. } | Source::Prefix { tokens: parts, .. } => parts,
            Source::Flattened { part, .. } | Source::Standardised { part, .. } => std::slice::from_ref(part),
        }
    }

    /// The tensors that it is made of; a position table is not among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts().iter().filter_map(Part::name)
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        let label = |part: &Part| match part {
            Part::Stored { name, rows: Some(rows), .. } => Some(format!("{name}[{}..{}]", rows.start, rows.end)),
            part => part.name().map(str::to_owned),
        };
        let names: Vec<_> = self.parts().iter().filter_map(label).collect();
        if names.is_empty() { "zeros".to_owned() } else { names.join(" + ") }
    }

    /// The shape that the model needs.
    pub fn shape(&self) -> &[usize] {
        match self {
            Source::Stored { shape, .. } | Source::Standardised { shape, .. } => shape,
            Source::Flattened { shape, .. } | Source::Prefix { shape, .. } => shape,
        }
    }

    /// How many learned values it has; a position table is counted where it is loaded.
    pub fn parameters(&self) -> usize {
        self.parts().iter().map(Part::parameters).sum()
    }

    /// Finds the weight.
    fn load(&self, files: &Files) -> Result<Weight> {
        let together = |parts: &[Part], shape: &[usize]| {
            Ok(Tensor::concatenated(shape.to_vec(), parts.iter().map(|part| part.load(files)).collect::<Result<_>>()?))
        };
        let tensor = match self {
            Source::Stored { parts, shape } => together(parts, shape)?,
            Source::Flattened { stored, shape, .. } => files.convolution(&self.name(), stored)?.reshaped(shape.to_vec()),
            Source::Standardised { part, shape } => standardised(&part.load(files)?, &self.name(), shape)?,
            Source::Prefix { tokens, table, positions, shape } => {
                let tokens = together(tokens, shape)?;
                if *positions == 0 {
                    tokens
                } else {
                    let rows = position_rows(files, table, shape[1])?.rows(0..*positions);
                    let mut values = tokens.finite_values(table)?.into_owned();
                    values.iter_mut().zip(rows.finite_values(table)?.iter()).for_each(|(value, position)| *value += position);
                    Tensor::new(*shape, values)?
                }
            }
        };
        Ok(Weight { name: self.name(), tensor, learned: self.parameters() })
    }
}

/// A position table as rows of `width` values, whatever axes of size 1 it has.
fn position_rows(files: &Files, name: &str, width: usize) -> Result<Tensor> {
    let rows = files.shape(name)?.iter().product::<usize>() / width;
    files.shaped(name, &[rows, width])
}

fn standardised(weight: &Tensor, name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut values = weight.finite_values(name)?.into_owned();
    for channel in values.chunks_mut(shape[1..].iter().product()) {
        let count = channel.len() as f64;
        let mean = channel.iter().copied().map(f64::from).sum::<f64>() / count;
        let variance = channel.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        let factor = (variance + STANDARDISATION_EPSILON).sqrt().recip();
        channel.iter_mut().for_each(|value| *value = ((f64::from(*value) - mean) * factor) as f32);
    }
    weight.release();
    Tensor::new(shape, values)
}

/// Where a learned position table is, and how it is used.
#[derive(Clone, Debug)]
pub struct PositionSource {
    pub name: String,
    /// Rows in front that belong to prefix tokens.
    pub prefix: usize,
    pub width: usize,
    /// The grid of the configuration.
    pub grid: [usize; 2],
    pub stored: StoredGrid,
    pub resampling: Resampling,
    /// See [`PositionTable`].
    pub built: Option<([usize; 2], Resampling)>,
}

/// What a library takes the grid of a stored table to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredGrid {
    /// That of the configuration if it has as many patches, else a square (timm).
    Configured,
    /// A square whenever there is a square number of patches (transformers' DINOv2).
    Square,
    /// The same, but for the configuration's own grid the table is used as it is (transformers' ViT).
    SquareElsewhere,
}

impl PositionSource {
    /// Finds the table.
    pub fn load(&self, files: &Files) -> Result<PositionTable> {
        let table = position_rows(files, &self.name, self.width)?;
        let rows = table.shape()[0];
        let patches = rows.saturating_sub(self.prefix);
        let side = patches.isqrt();
        let is_configured = patches == self.grid[0] * self.grid[1];
        let is_square = side > 0 && side * side == patches;
        let grid = match () {
            () if is_configured && !(self.stored != StoredGrid::Configured && is_square) => self.grid,
            () if is_square => [side, side],
            () => {
                let expected = self.prefix + self.grid[0] * self.grid[1];
                return Err(Error::tensor(
                    &self.name,
                    format!("expected {expected} rows for the image's grid of patches, or a square grid to resample; found {rows}"),
                ));
            }
        };
        Ok(self.made_of(table.rows(self.prefix..rows), grid))
    }

    /// The table for these values, `[patches, C]`.
    pub fn made_of(&self, table: Tensor, grid: [usize; 2]) -> PositionTable {
        let learned = table.len() + self.prefix * self.width;
        let as_is = (self.stored == StoredGrid::SquareElsewhere).then_some(self.grid);
        PositionTable { table, grid, as_is, resampling: self.resampling, built: self.built, learned }
    }
}

/// A dense layer `name.weight` `[out, in]` and `name.bias` `[out]`, which may be absent from the model.
pub fn linear(name: &str, shape: [usize; 2], has_bias: bool) -> Linear<Source> {
    packed(&[name], shape, &[has_bias])
}

/// Dense layers of the same shape `[out, in]` one after the other, as one; `has_bias` for each of them.
pub fn packed(names: &[&str], [out, input]: [usize; 2], has_bias: &[bool]) -> Linear<Source> {
    let weights = names.iter().map(|name| Part::new(format!("{name}.weight"), &[out, input])).collect();
    let weight = Source::of(weights, &[names.len() * out, input]);
    let bias = |(name, has): (&&str, &bool)| if *has { Part::new(format!("{name}.bias"), &[out]) } else { Part::Zeros(out) };
    let bias = Source::of(names.iter().zip(has_bias).map(bias).collect(), &[names.len() * out]);
    Linear { weight, bias }
}

/// The patch projection, a convolution `name.weight` `[C, channels, patch height, patch width]`, as the
/// dense layer of flattened patches that it is.
pub fn patch_projection(name: &str, config: &Config, patches: &Patches, has_bias: bool) -> Linear<Source> {
    let stored = [config.width, patches.map_channels(), patches.size[0], patches.size[1]];
    let shape = [config.width, patches.values()];
    let part = Part::new(format!("{name}.weight"), &stored);
    let weight = match config.layout {
        Layout::Timm => Source::Flattened { part, stored, shape },
        Layout::Transformers | Layout::Jax | Layout::Torch => Source::of(vec![part], &shape),
    };
    Linear { weight, ..linear(name, shape, has_bias) }
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
        self.try_map_all(|source| source.load(files))
    }
}
