//! Outputs that are maps of the image: which of their values belong to which patch, as plain data.

use super::{Config, Input, Size};

/// An output with a value, or a colour, for each patch of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    /// What its values are.
    pub kind: MapKind,
    /// Patches along the height and the width of the image.
    pub grid: [usize; 2],
    /// How much of the image's height and width they cover: less than 1 where pixels at the edge fill no patch, more where patches are filled up.
    pub share: [f32; 2],
}

/// What the values of a map are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapKind {
    /// How much of each token reaches a query: rows of N weights, for each image `[heads, queries, N]`, the patches from `first` on.
    Attention {
        /// Heads that have weights of their own.
        heads: usize,
        /// Tokens that have a row.
        queries: usize,
        /// Tokens in front of the patches.
        first: usize,
    },
    /// For each image `[P, 3]`, red, green and blue from 0 to 1.
    Colours,
}

/// A name of an output about attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attention {
    /// `attn.i`, or with a token `attn.i.q`.
    Block(usize, Option<usize>),
    /// `rollout`, or with a token `rollout.q`.
    Rollout(Option<usize>),
}

impl Attention {
    /// Reads a name.
    pub fn named(name: &str) -> Option<Attention> {
        let mut parts = name.split('.');
        let stem = parts.next()?;
        // Only as we write them: no sign, no leading zero.
        let numbers = parts.map(|part| part.parse().ok().filter(|number: &usize| number.to_string() == part)).collect::<Option<Vec<_>>>()?;
        match (stem, numbers.as_slice()) {
            ("attn", &[block]) => Some(Attention::Block(block, None)),
            ("attn", &[block, query]) => Some(Attention::Block(block, Some(query))),
            ("rollout", &[]) => Some(Attention::Rollout(None)),
            ("rollout", &[query]) => Some(Attention::Rollout(Some(query))),
            _ => None,
        }
    }
}

impl Config {
    /// What an output shows of images of this size, if it is a map: `attn.i` and `rollout`, both also with the token whose row is wanted
    /// (`attn.11.0`), and `pca`.
    pub fn map(&self, size: Size, name: &str) -> Option<Map> {
        let (Input::Image(patches), Size::Image(image)) = (&self.input, size) else { return None };
        let tokens = self.tokens(size).ok()?;
        let attention = |heads, query: Option<usize>| {
            let queries = if query.is_some() { 1 } else { tokens };
            query.is_none_or(|query| query < tokens).then_some(MapKind::Attention { heads, queries, first: self.prefix_tokens })
        };
        let kind = match Attention::named(name) {
            Some(Attention::Block(block, query)) if block < self.depth => attention(self.heads, query)?,
            Some(Attention::Rollout(query)) => attention(1, query)?,
            None if name == "pca" => MapKind::Colours,
            _ => return None,
        };
        let (grid, cut) = (patches.grid(image), patches.map(image));
        let share = std::array::from_fn(|axis| (grid[axis] * patches.size[axis]) as f32 / cut[axis] as f32);
        Some(Map { kind, grid, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(Attention::named("attn.11"), Some(Attention::Block(11, None)));
        assert_eq!(Attention::named("attn.11.0"), Some(Attention::Block(11, Some(0))));
        assert_eq!(Attention::named("rollout"), Some(Attention::Rollout(None)));
        assert_eq!(Attention::named("rollout.57"), Some(Attention::Rollout(Some(57))));
        for name in ["attn", "attn.", "attn.x", "attn.01", "attn.+1", "attn.1.2.3", "rollout.", "rollout.1.2", "pca", "hidden.1"] {
            assert_eq!(Attention::named(name), None, "{name}");
        }
    }
}
