//! Masks of attention in cases: the inputs that hold them, and what they add to scores.

use super::Fill::{self, Mask as Keys, Padding, Within};
use crate::data::record::Buf;
use crate::operations::kernels::Mask;
use crate::operations::kernels::attention::mask::MaskKind;

/// A mask for some sizes.
#[derive(Clone, Copy)]
pub struct Masking {
    pub kind: MaskKind,
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
}

impl Masking {
    /// Returns the shape and contents of the input that holds it.
    pub fn input(&self) -> Option<(Vec<usize>, Fill)> {
        match self.kind {
            MaskKind::None | MaskKind::Causal => None,
            MaskKind::Keys => Some((vec![self.batch, self.tokens], Keys)),
            MaskKind::CausalKeys => Some((vec![self.batch, self.tokens], Padding)),
            MaskKind::Relative => Some((vec![self.heads, self.columns()], Within(2.0))),
        }
    }

    /// Returns the mask of a call with the case's inputs, of which it is the last.
    pub fn mask(&self, inputs: &[Buf]) -> Mask {
        let last = inputs[inputs.len() - 1];
        match self.kind {
            MaskKind::None => Mask::None,
            MaskKind::Causal => Mask::Causal,
            MaskKind::Keys => Mask::Keys(last),
            MaskKind::CausalKeys => Mask::CausalKeys(last),
            MaskKind::Relative => Mask::Relative { table: last, grid: self.grid() },
        }
    }

    /// Returns what is added to the score of query i and key j.
    pub fn bias(&self, inputs: &[Vec<f64>], b: usize, h: usize, [i, j]: [usize; 2]) -> f64 {
        let values = &inputs[inputs.len() - 1];
        let ignored = |is: bool| if is { f64::NEG_INFINITY } else { 0.0 };
        match self.kind {
            MaskKind::None => 0.0,
            MaskKind::Keys => ignored(values[b * self.tokens + j] != 0.0),
            MaskKind::Causal => ignored(j > i),
            MaskKind::CausalKeys => ignored(j > i || values[b * self.tokens + j] != 0.0),
            MaskKind::Relative => values[h * self.columns() + self.column(i, j)],
        }
    }

    /// The widest grid of all tokens, or of all but a class token.
    fn grid(&self) -> [usize; 2] {
        let patches = self.patches();
        let rows = (1..=patches).filter(|rows| patches.is_multiple_of(*rows) && rows * rows <= patches).max().expect("1 divides all");
        [rows, patches / rows]
    }

    fn patches(&self) -> usize {
        if self.tokens.is_multiple_of(2) { self.tokens } else { (self.tokens - 1).max(1) }
    }

    fn columns(&self) -> usize {
        self.grid().iter().map(|side| 2 * side - 1).product::<usize>() + 3
    }

    fn column(&self, i: usize, j: usize) -> usize {
        let ([rows, columns], first) = (self.grid(), self.tokens - self.patches());
        match (i.checked_sub(first), j.checked_sub(first)) {
            (Some(i), Some(j)) => {
                let (down, across) = (i / columns + rows - 1 - j / columns, i % columns + columns - 1 - j % columns);
                down * (2 * columns - 1) + across
            }
            (None, Some(_)) => self.columns() - 3,
            (Some(_), None) => self.columns() - 2,
            (None, None) => self.columns() - 1,
        }
    }
}
