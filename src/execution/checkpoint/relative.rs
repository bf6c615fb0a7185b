//! Learned biases of attention scores by the offset between two patches (Bao et al. 2022, BEiT).

use super::files::Files;
use super::position::{Resampling, resample};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;

/// Biases of the class token: to a patch, from a patch, and to itself.
const OF_CLASS: usize = 3;

/// Location of a table of biases, stored as `[offsets + 3, H]`.
#[derive(Clone, Debug)]
pub struct RelativeSource {
    pub name: String,
    pub heads: usize,
    /// Grid that the table is made for.
    pub grid: [usize; 2],
    /// Whether the table is resampled for other grids.
    pub resampled: bool,
}

/// Biases for a grid of patches.
#[derive(Clone, Debug)]
pub struct RelativeTable {
    /// `[H, offsets + 3]`.
    pub(super) table: Tensor,
    grid: [usize; 2],
    resampled: bool,
}

impl RelativeSource {
    /// Number of rows of the stored table.
    pub fn offsets(&self) -> usize {
        offsets(self.grid) + OF_CLASS
    }

    /// Loads the table.
    pub fn load(&self, files: &Files) -> Result<RelativeTable> {
        let stored = files.shaped(&self.name, &[self.offsets(), self.heads])?;
        stored.finite_values(&self.name)?;
        Ok(self.made_of(stored.permuted(&[1, 0])))
    }

    /// Returns the table with the given values, `[H, offsets + 3]`.
    pub fn made_of(&self, table: Tensor) -> RelativeTable {
        RelativeTable { table, grid: self.grid, resampled: self.resampled }
    }
}

impl RelativeTable {
    /// Returns the table for a grid, `[H, offsets + 3]`, resampled bilinearly as by transformers' `BeitRelativePositionBias`. That reads the rows of a
    /// table as its columns, which makes a difference where the grid is not square.
    ///
    /// # Errors
    /// [`Error::Argument`] if the grid is another one and the reference implementation cannot run it either.
    pub fn at(&self, grid: [usize; 2]) -> Result<Tensor> {
        if grid == self.grid && (!self.resampled || grid[0] == grid[1]) {
            return Ok(self.table.clone());
        }
        if !self.resampled {
            let [rows, columns] = self.grid;
            return Err(Error::argument("image", format!("the relative positions of this model are for {rows} x {columns} patches only")));
        }
        let [heads, stored] = *self.table.shape() else { panic!("a table is [H, offsets + 3]") };
        let values = self.table.values();
        let [from, to] = [[self.grid[1], self.grid[0]], grid].map(|grid| grid.map(|side| 2 * side - 1));
        let mut result = Vec::with_capacity(heads * (to[0] * to[1] + OF_CLASS));
        for head in values.chunks(stored) {
            let (patches, of_class) = head.split_at(stored - OF_CLASS);
            result.extend(resample(patches, 1, from, to, Resampling::Bilinear));
            result.extend(of_class);
        }
        Tensor::new([heads, to[0] * to[1] + OF_CLASS], result)
    }
}

/// Number of offsets between two patches of a grid.
fn offsets([rows, columns]: [usize; 2]) -> usize {
    (2 * rows - 1) * (2 * columns - 1)
}
