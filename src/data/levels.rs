//! 8-bit levels of images, and the model input values they map to.

use std::sync::Arc;

/// Number of levels.
pub const LEVELS: usize = 256;

/// Levels per word in GPU buffers. Each image starts on a word boundary.
pub const WORD: usize = 4;

/// A lookup table from level to pixel value: `[channels, 256]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelTable(Arc<[f32]>);

impl LevelTable {
    /// Builds the table from a function of channel and level.
    pub fn new(channels: usize, value: impl Fn(usize, u8) -> f32) -> LevelTable {
        LevelTable(
            (0..channels)
                .flat_map(|channel| (0..=u8::MAX).map(move |level| (channel, level)))
                .map(|(channel, level)| value(channel, level))
                .collect(),
        )
    }

    /// Returns the whole table.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Returns whether every value is finite.
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|value| value.is_finite())
    }

    /// Appends the values of an image's levels `[channels, height, width]` to `out`.
    pub fn extend(&self, levels: &[u8], out: &mut Vec<f32>) {
        let pixels = (levels.len() / (self.0.len() / LEVELS)).max(1);
        for (levels, values) in levels.chunks(pixels).zip(self.0.chunks(LEVELS)) {
            out.extend(levels.iter().map(|level| values[usize::from(*level)]));
        }
    }
}
