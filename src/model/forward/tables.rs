//! Position tables for one input size.

use crate::data::config::{Config, Input, Size};
use crate::data::error::Result;
use crate::data::record::{Buf, Recording};
use crate::data::tensor::Tensor;
use crate::execution::checkpoint::Positions;

/// Tables that depend on the input size. A recording numbers them after the weights.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Grid of patches.
    grid: [usize; 2],
    /// Patch position embeddings, `[P, C]`.
    position: Option<Tensor>,
    /// Rotary angles of the patches, `[P, 1 or H, D / 2, 2]`: one table for all blocks, or one for each.
    rotary: Vec<Tensor>,
    /// Relative position biases, `[H, offsets + 3]`: one table for all blocks, or one for each.
    relative: Vec<Tensor>,
}

impl Tables {
    /// Builds the tables for an input size.
    ///
    /// # Errors
    /// Same as [`Config::tokens`]; also [`Error::Tensor`](crate::Error::Tensor) if a position is not finite.
    pub fn at(config: &Config, positions: &Positions, size: Size) -> Result<Tables> {
        config.tokens(size)?;
        if let (Input::Text { .. }, Size::Sequence(tokens)) = (&config.input, size) {
            let position = positions.of_text.as_ref().map(|table| table.clone().rows(0..tokens));
            return Ok(Tables { position, ..Tables::default() });
        }
        let (Input::Image(patches), Size::Image(image)) = (&config.input, size) else { return Ok(Tables::default()) };
        let grid = patches.grid(image);
        Ok(Tables {
            grid,
            position: positions.table.as_ref().map(|table| table.at(grid)).transpose()?,
            rotary: config.rotary.map_or(Ok(Vec::new()), |rotary| positions.rotary(rotary, grid, config.head_width()))?,
            relative: positions.relative.iter().map(|table| table.at(grid)).collect::<Result<_>>()?,
        })
    }

    /// Returns the existing tables with their names for messages.
    pub fn named(self) -> impl Iterator<Item = (String, Tensor)> {
        let named = |name: &'static str| move |table| (name.to_owned(), table);
        let (rotary, relative) = (self.rotary.into_iter().map(named(ROTARY)), self.relative.into_iter().map(named(RELATIVE)));
        self.position.into_iter().map(named(POSITION)).chain(rotary).chain(relative)
    }

    pub(super) fn record(&self, recording: &mut Recording) -> Result<Recorded> {
        let mut record = |name: &str, table: &Tensor| recording.weight(name, table.shape());
        Ok(Recorded {
            grid: self.grid,
            position: self.position.as_ref().map(|table| record(POSITION, table)).transpose()?,
            rotary: self.rotary.iter().map(|table| record(ROTARY, table)).collect::<Result<_>>()?,
            relative: self.relative.iter().map(|table| record(RELATIVE, table)).collect::<Result<_>>()?,
        })
    }
}

const POSITION: &str = "positions";
const ROTARY: &str = "rotary angles";
const RELATIVE: &str = "relative positions";

/// Buffers of the tables in a recording.
pub(super) struct Recorded {
    pub grid: [usize; 2],
    pub position: Option<Buf>,
    rotary: Vec<Buf>,
    relative: Vec<Buf>,
}

impl Recorded {
    /// Returns the rotary angles of a block.
    pub fn rotary_of(&self, block: usize) -> Option<Buf> {
        of_block(&self.rotary, block)
    }

    /// Returns the relative position biases of a block.
    pub fn relative_of(&self, block: usize) -> Option<Buf> {
        of_block(&self.relative, block)
    }
}

/// Returns a block's table, or the one that all blocks share.
fn of_block(tables: &[Buf], block: usize) -> Option<Buf> {
    tables.get(block).or(tables.first()).copied()
}
