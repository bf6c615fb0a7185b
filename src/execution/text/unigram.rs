//! SentencePiece's unigram model (`unigram_model.cc`): the pieces of a text with the largest sum of scores.
//!
//! SentencePiece sums in f32, the `tokenizers` crate in f64: rounding breaks ties. The crate's own model takes 350 bytes for each letter of a piece.

use super::prefixes::Prefixes;
use std::ops::{Add, Mul, Sub};

/// Mark of a space in pieces.
pub const SPACE: char = '\u{2581}';

/// What an unknown character's score is below the lowest one.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Pieces that texts may have, with scores of type `F`.
pub struct Unigram<F> {
    /// Pieces by their index in `scores`.
    pub pieces: Prefixes,
    pub scores: Vec<Score<F>>,
    /// Lowest and highest score of normal pieces.
    pub bounds: [F; 2],
}

/// Score of a piece.
#[derive(Clone, Copy)]
pub enum Score<F> {
    Normal(F),
    /// Always chosen, the longest first.
    UserDefined,
}

/// A part of a text.
pub struct Part<'a> {
    pub text: &'a str,
    /// Index of the piece; `None` if the text is unknown.
    pub piece: Option<u32>,
}

/// End of the best way to a place in the text.
#[derive(Clone, Copy)]
struct Step<F> {
    start: usize,
    piece: Option<u32>,
    score: F,
}

impl<F: Copy + PartialOrd + From<f32> + Add<Output = F> + Sub<Output = F> + Mul<Output = F>> Unigram<F> {
    /// Returns the parts of a text. Neighbouring unknown characters are one part.
    pub fn parts<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let unknown = self.bounds[0] - UNKNOWN_PENALTY.into();
        let mut best: Vec<Option<Step<F>>> = vec![None; text.len() + 1];
        for (start, c) in text.char_indices() {
            let before = best[start].map_or(0.0.into(), |step| step.score);
            let mut has_character = false;
            let mut offer = |len: usize, piece: Option<u32>, score: F| {
                let place = &mut best[start + len];
                if place.is_none_or(|best| score + before > best.score) {
                    *place = Some(Step { start, piece, score: score + before });
                }
            };
            for (len, piece) in self.pieces.of(&text[start..]) {
                let score = match self.scores[piece as usize] {
                    Score::Normal(score) => score,
                    Score::UserDefined => F::from(len as f32) * self.bounds[1] - 0.1.into(),
                };
                offer(len, Some(piece), score);
                has_character |= len == c.len_utf8();
            }
            if !has_character {
                offer(c.len_utf8(), None, unknown);
            }
        }
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut end = text.len();
        // Each character's end is reached, so each step's start is one.
        while let Some(Step { start, piece, .. }) = best[end].filter(|_| end > 0) {
            match parts.last_mut() {
                Some(Part { text: after, piece: None }) if piece.is_none() => *after = &text[start..end + after.len()],
                _ => parts.push(Part { text: &text[start..end], piece }),
            }
            end = start;
        }
        parts.reverse();
        parts
    }
}
