//! Position tables for one input size.

use crate::data::config::{Config, Input, Size};
use crate::data::error::Result;
use crate::data::record::{Buf, Recording};
use crate::data::tensor::Tensor;
use crate::execution::checkpoint::{PositionTable, rotary};

/// Tables that depend on the input size. A recording numbers them after the weights.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Patch position embeddings, `[P, C]`.
    position: Option<Tensor>,
    /// Rotary angles of the patches, `[P, D / 2, 2]`.
    rotary: Option<Tensor>,
}

impl Tables {
    /// Builds the tables for an input size.
    ///
    /// # Errors
    /// Same as [`Config::tokens`]; also [`Error::Tensor`](crate::Error::Tensor) if a position is not finite.
    pub fn at(config: &Config, positions: Option<&PositionTable>, size: Size) -> Result<Tables> {
        config.tokens(size)?;
        let (Input::Image(patches), Size::Image(image)) = (&config.input, size) else { return Ok(Tables::default()) };
        let grid = patches.grid(image);
        Ok(Tables {
            position: positions.map(|positions| positions.at(grid)).transpose()?,
            rotary: config.rotary.map(|base| rotary(grid, config.head_width(), base)),
        })
    }

    /// Returns the existing tables with their names for messages.
    pub fn named(self) -> impl Iterator<Item = (String, Tensor)> {
        let named = |name: &str, table: Option<Tensor>| table.map(|table| (name.to_owned(), table));
        named("positions", self.position).into_iter().chain(named("rotary angles", self.rotary))
    }

    pub(super) fn record(&self, recording: &mut Recording) -> Result<Recorded> {
        let mut record = |name: &str, table: &Option<Tensor>| table.as_ref().map(|table| recording.weight(name, table.shape())).transpose();
        Ok(Recorded { position: record("positions", &self.position)?, rotary: record("rotary angles", &self.rotary)? })
    }
}

/// Buffers of the tables in a recording.
pub(super) struct Recorded {
    pub position: Option<Buf>,
    pub rotary: Option<Buf>,
}
