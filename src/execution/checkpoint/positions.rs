//! Learned positions of a model, and their sources in a checkpoint.

use super::files::Files;
use super::position::PositionTable;
use super::relative::{RelativeSource, RelativeTable};
use super::source::{Part, PositionSource};
use crate::data::error::Result;
use crate::data::tensor::Tensor;

/// Learned positions.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// Embeddings that are added to the patches.
    pub table: Option<PositionTable>,
    /// Biases of attention scores: one table for all blocks, or one for each.
    pub relative: Vec<RelativeTable>,
    /// Embeddings that are added to the tokens of a text, `[longest, C]`.
    pub of_text: Option<Tensor>,
    /// Frequencies of learned rotary positions, `[2, blocks, H, D / 2]`.
    pub(super) frequencies: Option<Tensor>,
}

/// Sources of a model's positions.
#[derive(Clone, Debug, Default)]
pub struct PositionSources {
    pub table: Option<PositionSource>,
    pub relative: Vec<RelativeSource>,
    pub of_text: Option<Part>,
    pub frequencies: Option<Part>,
}

impl From<Option<PositionSource>> for PositionSources {
    fn from(table: Option<PositionSource>) -> PositionSources {
        PositionSources { table, ..PositionSources::default() }
    }
}

impl Positions {
    /// Number of learned values.
    pub fn learned(&self) -> usize {
        let relative = self.relative.iter().map(|table| table.table.len());
        let table = self.table.as_ref().map_or(0, |table| table.learned);
        table + relative.sum::<usize>() + self.of_text.iter().chain(&self.frequencies).map(Tensor::len).sum::<usize>()
    }
}

impl PositionSources {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.of_text.iter().chain(&self.frequencies)
    }

    /// Names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let table = self.table.iter().map(|source| source.name.as_str());
        table.chain(self.relative.iter().map(|source| source.name.as_str())).chain(self.parts().filter_map(Part::name))
    }

    /// Number of learned values, as the configuration implies it.
    #[cfg(test)]
    pub fn parameters(&self) -> usize {
        let of_table = |table: &PositionSource| (table.prefix + table.grid[0] * table.grid[1]) * table.width;
        let relative = self.relative.iter().map(|source| source.offsets() * source.heads);
        self.table.as_ref().map_or(0, of_table) + relative.sum::<usize>() + self.parts().map(Part::parameters).sum::<usize>()
    }

    /// Loads the positions.
    pub fn load(&self, files: &Files) -> Result<Positions> {
        Ok(Positions {
            table: self.table.as_ref().map(|source| source.load(files)).transpose()?,
            relative: self.relative.iter().map(|source| source.load(files)).collect::<Result<_>>()?,
            of_text: self.of_text.as_ref().map(|part| part.load(files)).transpose()?,
            frequencies: self.frequencies.as_ref().map(|part| part.load(files)).transpose()?,
        })
    }
}
