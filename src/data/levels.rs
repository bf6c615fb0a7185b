//! 8-bit levels of images, and what they stand for in a model's input.

use std::sync::Arc;

/// Levels that there are.
pub const LEVELS: usize = 256;

/// Levels in a word, as GPUs read them: an image begins with a word of its own.
pub const WORD: usize = 4;

/// A lookup table of the pixel values that levels stand for: `[channels, 256]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelTable(Arc<[f32]>);

impl LevelTable {
    /// By a function of the channel and the level.
    pub fn new(channels: usize, value: impl Fn(usize, u8) -> f32) -> LevelTable {
        LevelTable(
            (0..channels)
                .flat_map(|channel| (0..=u8::MAX).map(move |level| (channel, level)))
                .map(|(channel, level)| value(channel, level))
                .collect(),
        )
    }

    /// All of it.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Whether no level stands for NaN or infinity.
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|value| value.is_finite())
    }

    /// Adds the values of an image's levels `[channels, height, width]`.
    pub fn extend(&self, levels: &[u8], out: &mut Vec<f32>) {
        let pixels = (levels.len() / (self.0.len() / LEVELS)).max(1);
        for (levels, values) in levels.chunks(pixels).zip(self.0.chunks(LEVELS)) {
            out.extend(levels.iter().map(|level| values[usize::from(*level)]));
        }
    }
}
