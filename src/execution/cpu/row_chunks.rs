//! Chunks of the rows that several threads share.

use super::instructions::TILE;
use super::product::ROWS;
use std::ops::Range;

/// Rows in as many chunks for each of some parts, of at most [`ROWS`] rows and of whole tiles.
#[derive(Clone, Copy)]
pub(super) struct RowChunks {
    rows: usize,
    /// Rows of a part.
    part: usize,
    /// Rows of a chunk.
    pub len: usize,
}

impl RowChunks {
    pub fn new(rows: usize, parts: usize) -> RowChunks {
        let part = rows.div_ceil(parts).next_multiple_of(TILE);
        // Of one part, the last chunk may be short; of several, all take the same time.
        RowChunks { rows, part, len: if parts == 1 { ROWS } else { part.div_ceil(part.div_ceil(ROWS)).next_multiple_of(TILE) } }
    }

    /// Returns the number of chunks of a part; in the last part, some may be empty.
    pub fn count(&self) -> usize {
        self.part.div_ceil(self.len)
    }

    /// Returns the rows of some of a part's chunks.
    pub fn range(&self, part: usize, chunks: Range<usize>) -> Range<usize> {
        let end = self.rows.min((part + 1) * self.part);
        let row = |chunk: usize| end.min(part * self.part + chunk * self.len);
        row(chunks.start)..row(chunks.end)
    }
}
