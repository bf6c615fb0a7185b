//! Masks of attention's twins.

use crate::data::record::Call;

/// Keys that are ignored, and biases of scores.
pub(super) enum Mask<'a> {
    None,
    /// `[B, N]`; tokens whose value is not 0 are no keys.
    Keys(&'a [f32]),
    /// Tokens behind the query are no keys.
    Causal,
    CausalKeys(&'a [f32]),
    Relative(Relative<'a>),
}

/// Biases by the offset between two patches, or for the class token.
pub(super) struct Relative<'a> {
    /// `[H, offsets + 3]`.
    table: &'a [f32],
    /// Columns of the table.
    width: usize,
    /// For each patch, a number; the difference of two, and `centre`, is the column of the offset between them.
    places: Vec<usize>,
    centre: usize,
}

impl<'a> Mask<'a> {
    /// Reads the table of relative positions.
    pub fn relative(call: &Call<'_>, table: &'a [f32]) -> Mask<'a> {
        let [rows, columns] = ["ROWS", "COLUMNS"].map(|name| call.spec.get(name) as usize);
        let across = 2 * columns - 1;
        Mask::Relative(Relative {
            table,
            width: (2 * rows - 1) * across + 3,
            places: (0..rows * columns).map(|patch| patch / columns * across + patch % columns).collect(),
            centre: (rows - 1) * across + columns - 1,
        })
    }

    /// Returns what is added to the score of query i and key j of N tokens: negative infinity where the key is ignored.
    #[inline(always)]
    pub fn bias(&self, tokens: usize, [image, head]: [usize; 2], i: usize, j: usize) -> f32 {
        let ignored = |is: bool| if is { f32::NEG_INFINITY } else { 0.0 };
        match self {
            Mask::None => 0.0,
            Mask::Keys(mask) => ignored(mask[image * tokens + j] != 0.0),
            Mask::Causal => ignored(j > i),
            Mask::CausalKeys(mask) => ignored(j > i || mask[image * tokens + j] != 0.0),
            Mask::Relative(relative) => relative.bias(tokens, head, i, j),
        }
    }

    /// Adds the biases to scores with a row of `stride` for each key and a column for each of `count` queries from `top` on.
    pub fn add(&self, tokens: usize, place: [usize; 2], [top, count]: [usize; 2], scores: &mut [f32], stride: usize) {
        if let Mask::None = self {
            return;
        }
        for (j, row) in scores.chunks_mut(stride).enumerate() {
            row[..count].iter_mut().enumerate().for_each(|(i, score)| *score += self.bias(tokens, place, top + i, j));
        }
    }
}

impl Relative<'_> {
    #[inline(always)]
    fn bias(&self, tokens: usize, head: usize, i: usize, j: usize) -> f32 {
        let first = tokens - self.places.len();
        let column = match (i >= first, j >= first) {
            (true, true) => self.places[i - first] + self.centre - self.places[j - first],
            (false, true) => self.width - 3,
            (true, false) => self.width - 2,
            (false, false) => self.width - 1,
        };
        self.table[head * self.width + column]
    }
}
