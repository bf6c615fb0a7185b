//! Token ids of texts.

use super::error::{Error, Result};

/// Ids of B texts, each of N tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// Ids `[B, N]`.
    pub ids: Vec<u32>,
    /// Attention mask `[B, N]`: false for padding, which is not attended to.
    pub mask: Vec<bool>,
    /// B and N.
    pub shape: [usize; 2],
}

impl Tokens {
    /// Returns tokens of this shape, without padding if there is no mask.
    ///
    /// # Errors
    /// [`Error::Argument`] if the shape is that of no text, or does not match.
    pub fn new(shape: [usize; 2], ids: Vec<u32>, mask: Option<Vec<bool>>) -> Result<Tokens> {
        let mask = mask.unwrap_or_else(|| vec![true; ids.len()]);
        let tokens = Tokens { ids, mask, shape };
        tokens.check()?;
        Ok(tokens)
    }

    /// Checks that the fields, which anyone may change, match.
    pub(crate) fn check(&self) -> Result<()> {
        let Tokens { ids, mask, shape } = self;
        let count = shape[0].saturating_mul(shape[1]);
        if count == 0 {
            return Err(Error::argument("input_ids", format!("expected at least one text of at least one token, found the shape {shape:?}")));
        }
        match ids.len() == count && mask.len() == count {
            true => Ok(()),
            false => Err(Error::argument(
                "input_ids",
                format!("expected {count} ids and mask values for {shape:?}, found {} and {}", ids.len(), mask.len()),
            )),
        }
    }

    /// Returns the ids and the mask of each text.
    pub fn rows(&self) -> impl Iterator<Item = (&[u32], &[bool])> {
        let count = self.shape[1].max(1);
        self.ids.chunks(count).zip(self.mask.chunks(count))
    }
}
