//! Sources of a model's weights in a checkpoint. Each family's table is a [`Weights`] of these.

use super::batch_norm::Normed;
use super::files::Files;
use super::position::{PositionTable, Resampling};
use super::stem::Windowed;
use super::weights::{Linear, Norm, Weight, Weights};
use crate::data::config::{Config, Layout, Patches};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use std::ops::Range;

/// Added to a channel's variance when a convolution is standardised, so that the deviation is never 0 (BiT's value).
const STANDARDISATION_EPSILON: f64 = 1e-8;

/// All or part of a stored tensor, or zeros.
#[derive(Clone, Debug)]
pub enum Part {
    /// Stored in the checkpoint.
    Stored {
        name: String,
        /// Shape as stored.
        shape: Vec<usize>,
        /// Rows to read; all if `None`.
        rows: Option<Range<usize>>,
        /// Whether `rows` selects one tensor of a stack, whose first axis is then dropped.
        stacked: bool,
        /// Shape before the axes are permuted, if it is not that as stored.
        unflattened: Option<[usize; 4]>,
        /// Permutation applied to the axes.
        axes: Option<&'static [usize]>,
    },
    /// Zeros in place of a bias that the model lacks.
    Zeros(usize),
}

impl Part {
    /// A whole tensor.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: None, stacked: false, unflattened: None, axes: None }
    }

    /// A range of rows of a tensor.
    pub fn of_rows(name: impl Into<String>, shape: &[usize], rows: Range<usize>) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: Some(rows), stacked: false, unflattened: None, axes: None }
    }

    /// A tensor with permuted axes: axis i of the result is stored axis `axes[i]`.
    pub fn permuted(name: impl Into<String>, shape: &[usize], axes: &'static [usize]) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: None, stacked: false, unflattened: None, axes: Some(axes) }
    }

    /// A tensor with flattened axes, which are permuted: axis i of the result is axis `axes[i]` of those.
    pub fn of_flat(name: impl Into<String>, shape: &[usize], unflattened: [usize; 4], axes: &'static [usize]) -> Part {
        Part::Stored { name: name.into(), shape: shape.to_vec(), rows: None, stacked: false, unflattened: Some(unflattened), axes: Some(axes) }
    }

    /// The same tensor as entry `i` of a stack of `count`.
    pub fn in_stack(self, i: usize, count: usize) -> Part {
        match self {
            Part::Stored { name, shape, unflattened, axes, .. } => {
                Part::Stored { name, shape: [&[count], shape.as_slice()].concat(), rows: Some(i..i + 1), stacked: true, unflattened, axes }
            }
            zeros @ Part::Zeros(_) => zeros,
        }
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Part::Stored { name, .. } => Some(name),
            Part::Zeros(_) => None,
        }
    }

    /// Number of stored values.
    pub fn parameters(&self) -> usize {
        match self {
            Part::Zeros(_) => 0,
            Part::Stored { shape, rows: Some(rows), .. } => shape[1..].iter().product::<usize>() * rows.len(),
            Part::Stored { shape, .. } => shape.iter().product(),
        }
    }

    pub fn load(&self, files: &Files) -> Result<Tensor> {
        let (name, shape, rows, stacked, unflattened, axes) = match self {
            Part::Zeros(len) => return Ok(Tensor::zeros([*len])),
            Part::Stored { name, shape, rows, stacked, unflattened, axes } => (name, shape, rows, *stacked, unflattened, axes),
        };
        let mut tensor = files.shaped(name, shape)?;
        if let Some(rows) = rows {
            tensor = tensor.rows(rows.clone());
        }
        if stacked {
            tensor = tensor.reshaped(shape[1..].to_vec());
        }
        if let Some(unflattened) = unflattened {
            tensor = tensor.reshaped(unflattened.to_vec());
        }
        Ok(match axes {
            Some(axes) => tensor.permuted(axes),
            None => tensor,
        })
    }
}

/// Source of a weight.
#[derive(Clone, Debug)]
pub enum Source {
    /// Tensors, concatenated; `shape` is that of the result.
    Stored { parts: Vec<Part>, shape: Vec<usize> },
    /// A convolution that may be stored as the equivalent matrix, as in old timm files.
    Flattened { part: Part, stored: [usize; 4], shape: [usize; 2] },
    /// A convolution with weights standardised per output channel: mean 0, deviation 1 (Qiao et al. 2019).
    Standardised { part: Part, shape: Vec<usize> },
    /// A convolution, or its bias, with the batch norm that follows it folded in.
    Normed(Normed),
    /// A convolution, or its bias, as the dense layer on a whole patch.
    Windowed(Windowed),
    /// A bias `[N]` so many times, one behind the other.
    Repeated { part: Part, shape: [usize; 1] },
    /// Prefix tokens `[T, C]`; the first `positions` of them have the first rows of a position table added.
    Prefix { tokens: Vec<Part>, table: String, positions: usize, shape: [usize; 2] },
}

impl Source {
    /// Concatenated tensors; `shape` is that of the result.
    pub fn of(parts: Vec<Part>, shape: &[usize]) -> Source {
        Source::Stored { parts, shape: shape.to_vec() }
    }

    /// A single tensor.
    pub fn stored(name: impl Into<String>, shape: &[usize]) -> Source {
        Source::of(vec![Part::new(name, shape)], shape)
    }

    /// Zeros in place of a bias that the model lacks.
    pub fn zeros(len: usize) -> Source {
        Source::of(vec![Part::Zeros(len)], &[len])
    }

    /// Prefix tokens `[T, C]`, whose first `positions` tokens have a row at the start of the position table; `None` if T is 0.
    pub fn prefix(tokens: Vec<Part>, table: &str, positions: usize, shape: [usize; 2]) -> Option<Source> {
        (shape[0] > 0).then(|| Source::Prefix { tokens, table: table.to_owned(), positions, shape })
    }

    /// Weight of a convolution, `[out, in, height, width]`, before standardisation.
    pub fn standardised(part: Part, shape: [usize; 4]) -> Source {
        Source::Standardised { part, shape: shape.to_vec() }
    }

    fn parts(&self) -> &[Part] {
        match self {
            Source::Stored { parts, .. } | Source::Prefix { tokens: parts, .. } => parts,
            Source::Flattened { part, .. } | Source::Standardised { part, .. } | Source::Repeated { part, .. } => std::slice::from_ref(part),
            Source::Normed(normed) => normed.parts(),
            Source::Windowed(windowed) => windowed.source().parts(),
        }
    }

    /// Names of its tensors, without the position table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts().iter().filter_map(Part::name)
    }

    /// Name for messages.
    pub fn name(&self) -> String {
        let label = |part: &Part| match part {
            Part::Stored { name, rows: Some(rows), .. } => Some(format!("{name}[{}..{}]", rows.start, rows.end)),
            part => part.name().map(str::to_owned),
        };
        let names: Vec<_> = self.parts().iter().filter_map(label).collect();
        if names.is_empty() { "zeros".to_owned() } else { names.join(" + ") }
    }

    /// Shape that the model needs.
    pub fn shape(&self) -> &[usize] {
        match self {
            Source::Stored { shape, .. } | Source::Standardised { shape, .. } => shape,
            Source::Flattened { shape, .. } | Source::Prefix { shape, .. } => shape,
            Source::Repeated { shape, .. } => shape,
            Source::Normed(normed) => normed.shape(),
            Source::Windowed(windowed) => windowed.shape(),
        }
    }

    /// Number of learned values. A position table is counted where it is loaded.
    pub fn parameters(&self) -> usize {
        match self {
            Source::Normed(normed) => normed.parameters(),
            Source::Windowed(windowed) => windowed.source().parameters(),
            source => source.parts().iter().map(Part::parameters).sum(),
        }
    }

    /// Loads the weight.
    pub fn load(&self, files: &Files) -> Result<Weight> {
        let together = |parts: &[Part], shape: &[usize]| {
            Ok(Tensor::concatenated(shape.to_vec(), parts.iter().map(|part| part.load(files)).collect::<Result<_>>()?))
        };
        let tensor = match self {
            Source::Stored { parts, shape } => together(parts, shape)?,
            Source::Flattened { stored, shape, .. } => files.convolution(&self.name(), stored)?.reshaped(shape.to_vec()),
            Source::Standardised { part, shape } => standardised(&part.load(files)?, &self.name(), shape)?,
            Source::Normed(normed) => normed.load(files)?,
            Source::Windowed(windowed) => windowed.load(files)?,
            Source::Repeated { part, shape } => {
                let values = part.load(files)?.finite_values(&self.name())?.into_owned();
                Tensor::new(*shape, values.iter().copied().cycle().take(shape[0]).collect())?
            }
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

/// Returns a position table as rows of `width` values, ignoring leading axes of size 1.
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

/// Location and interpretation of a learned position table.
#[derive(Clone, Debug)]
pub struct PositionSource {
    pub name: String,
    /// Leading rows, which belong to prefix tokens.
    pub prefix: usize,
    pub width: usize,
    /// Grid in the configuration.
    pub grid: [usize; 2],
    pub stored: StoredGrid,
    pub resampling: Resampling,
    /// Intermediate grid; see [`PositionTable`].
    pub built: Option<([usize; 2], Resampling)>,
}

/// Grid that a library assumes for a stored table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredGrid {
    /// The configured grid if it has as many patches, else a square (open_clip, timm's BEiT).
    Configured,
    /// The same, but before them the grid that the weights were saved for, if it has as many patches (timm).
    Saved([usize; 2]),
    /// A square whenever the number of patches is square (transformers' DINOv2).
    Square,
    /// The same, but for the configured grid the table is used unchanged (transformers' ViT).
    SquareElsewhere,
}

impl PositionSource {
    /// Loads the table.
    pub fn load(&self, files: &Files) -> Result<PositionTable> {
        let table = position_rows(files, &self.name, self.width)?;
        let rows = table.shape()[0];
        let patches = rows.saturating_sub(self.prefix);
        let side = patches.isqrt();
        let is_configured = patches == self.grid[0] * self.grid[1];
        let is_square = side > 0 && side * side == patches;
        let prefers_square = matches!(self.stored, StoredGrid::Square | StoredGrid::SquareElsewhere);
        let grid = match self.stored {
            StoredGrid::Saved([height, width]) if patches > 0 && height.checked_mul(width) == Some(patches) => [height, width],
            _ if is_configured && !(prefers_square && is_square) => self.grid,
            _ if is_square => [side, side],
            _ => {
                let expected = self.prefix + self.grid[0] * self.grid[1];
                return Err(Error::tensor(
                    &self.name,
                    format!("expected {expected} rows for the image's grid of patches, or a square grid to resample; found {rows}"),
                ));
            }
        };
        Ok(self.made_of(table.rows(self.prefix..rows), grid))
    }

    /// Returns the table with the given values, `[patches, C]`.
    pub fn made_of(&self, table: Tensor, grid: [usize; 2]) -> PositionTable {
        let learned = table.len() + self.prefix * self.width;
        let as_is = (self.stored == StoredGrid::SquareElsewhere).then_some(self.grid);
        PositionTable { table, grid, as_is, resampling: self.resampling, built: self.built, learned }
    }
}

/// Dense layer with `name.weight` `[out, in]` and, if `has_bias`, `name.bias` `[out]`; else the bias is zero.
pub fn linear(name: &str, shape: [usize; 2], has_bias: bool) -> Linear<Source> {
    packed(&[name], shape, &[has_bias])
}

/// Dense layers of the same shape `[out, in]`, concatenated into one. `has_bias` has an entry for each.
pub fn packed(names: &[&str], [out, input]: [usize; 2], has_bias: &[bool]) -> Linear<Source> {
    let weights = names.iter().map(|name| Part::new(format!("{name}.weight"), &[out, input])).collect();
    let weight = Source::of(weights, &[names.len() * out, input]);
    let bias = |(name, has): (&&str, &bool)| if *has { Part::new(format!("{name}.bias"), &[out]) } else { Part::Zeros(out) };
    let bias = Source::of(names.iter().zip(has_bias).map(bias).collect(), &[names.len() * out]);
    Linear { weight, bias }
}

/// Patch projection, stored as a convolution `name.weight` `[C, channels, patch height, patch width]`, as a dense
/// layer on flattened patches.
pub fn patch_projection(name: &str, config: &Config, patches: &Patches, has_bias: bool) -> Linear<Source> {
    let stored = [config.width, patches.map_channels(), patches.size[0], patches.size[1]];
    let shape = [config.width, patches.values()];
    let part = Part::new(format!("{name}.weight"), &stored);
    let weight = match config.layout {
        Layout::Timm => Source::Flattened { part, stored, shape },
        _ => Source::of(vec![part], &shape),
    };
    Linear { weight, ..linear(name, shape, has_bias) }
}

/// LayerNorm with `name.weight` and `name.bias`, both `[width]`.
pub fn norm(name: &str, width: usize) -> Norm<Source> {
    Norm { bias: Some(Source::stored(format!("{name}.bias"), &[width])), ..rms_norm(name, width) }
}

/// RMSNorm with `name.weight` `[width]`.
pub fn rms_norm(name: &str, width: usize) -> Norm<Source> {
    Norm { weight: Source::stored(format!("{name}.weight"), &[width]), bias: None }
}

impl Weights<Source> {
    /// Loads every weight.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor is missing, or has the wrong shape or type.
    pub fn load(self, files: &Files) -> Result<Weights<Weight>> {
        self.try_map_all(|source| source.load(files))
    }
}
