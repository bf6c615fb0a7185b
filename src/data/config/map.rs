//! Plain data for outputs that are maps of the image: which values belong to which patch.

use super::{Branches, Config, Dense, DenseHead, Input, Size};
use crate::data::error::{Error, Result};

/// An output with a value or colour for each patch of an image, or for each place of a finer grid.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Map {
    /// Meaning of its values.
    pub kind: MapKind,
    /// Patches, or places, along the height and width of the image.
    pub grid: [usize; 2],
    /// Fraction of the image's height and width that the patches cover: below 1 where pixels at the edge fill no patch, above 1
    /// where patches are padded.
    pub share: [f32; 2],
}

impl Map {
    /// Returns a map of `[rows, columns]` values that cover the whole image.
    pub fn of_values(grid: [usize; 2]) -> Map {
        Map { kind: MapKind::Values, grid, share: [1.0; 2] }
    }

    /// Returns the number of patches.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are none, or more than memory can hold.
    pub(crate) fn patches(&self) -> Result<usize> {
        let [rows, columns] = self.grid;
        let patches = rows.checked_mul(columns).filter(|&patches| patches > 0);
        patches.ok_or_else(|| Error::argument("map", format!("expected a grid with patches, found {rows} x {columns}")))
    }

    /// Returns the number of values of an image, if memory can hold them.
    pub(crate) fn values(&self) -> Option<usize> {
        let patches = self.grid[0].checked_mul(self.grid[1])?;
        match self.kind {
            MapKind::Attention { heads, queries, first } => first.checked_add(patches)?.checked_mul(queries)?.checked_mul(heads),
            MapKind::Colours => patches.checked_mul(3),
            MapKind::Values => Some(patches),
        }
    }
}

/// Meaning of a map's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapKind {
    /// Attention of a query over the tokens: `[heads, queries, N]` per image, with the patches from index `first` of each row.
    Attention {
        /// Number of heads with separate weights.
        heads: usize,
        /// Number of queries, each with a row.
        queries: usize,
        /// Number of tokens before the patches.
        first: usize,
    },
    /// `[P, 3]` per image: red, green and blue from 0 to 1.
    Colours,
    /// `[rows, columns]` per image: a value for each of a grid's places, such as depth.
    Values,
}

/// The parsed name of an attention output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attention {
    /// `attn.i`, or `attn.i.q` for one query token.
    Block(usize, Option<usize>),
    /// `rollout`, or `rollout.q` for one query token.
    Rollout(Option<usize>),
}

impl Attention {
    /// Parses an output name.
    pub fn named(name: &str) -> Option<Attention> {
        let mut parts = name.split('.');
        let stem = parts.next()?;
        // Canonical form only: no sign, no leading zero.
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
    /// Returns the dense head, if it predicts depth.
    pub fn depth_head(&self) -> Option<&Dense> {
        self.dense.as_ref().filter(|dense| matches!(dense.head, DenseHead::Depth { .. }))
    }

    /// Returns the layout of output `name` for this image size, if it is a map: `attn.i` or `rollout`, each also with a query
    /// token (`attn.11.0`), `pca`, or `predicted_depth`.
    pub fn map(&self, size: Size, name: &str) -> Option<Map> {
        let (Input::Image(patches), Size::Image(image)) = (&self.input, size) else { return None };
        let tokens = self.tokens(size).ok()?;
        let attention = |heads, query: Option<usize>| {
            let queries = if query.is_some() { 1 } else { tokens };
            query.is_none_or(|query| query < tokens).then_some(MapKind::Attention { heads, queries, first: self.prefix_tokens })
        };
        let kind = match Attention::named(name) {
            Some(_) if self.branches == Branches::Pairs => return None,
            Some(Attention::Block(block, query)) if block < self.depth => attention(self.heads, query)?,
            Some(Attention::Rollout(query)) => attention(1, query)?,
            None if name == "pca" => MapKind::Colours,
            None if name == "predicted_depth" && self.depth_head().is_some() => MapKind::Values,
            _ => return None,
        };
        let (patch_grid, cut) = (patches.grid(image), patches.map(image));
        let share = std::array::from_fn(|axis| (patch_grid[axis] * patches.size[axis]) as f32 / cut[axis] as f32);
        let grid = match &self.dense {
            Some(dense) if kind == MapKind::Values => dense.sizes(patches, image).result,
            _ => patch_grid,
        };
        Some(Map { kind, grid, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_names_parse_only_in_canonical_form() {
        assert_eq!(Attention::named("attn.11"), Some(Attention::Block(11, None)));
        assert_eq!(Attention::named("attn.11.0"), Some(Attention::Block(11, Some(0))));
        assert_eq!(Attention::named("rollout"), Some(Attention::Rollout(None)));
        assert_eq!(Attention::named("rollout.57"), Some(Attention::Rollout(Some(57))));
        for name in ["attn", "attn.", "attn.x", "attn.01", "attn.+1", "attn.1.2.3", "rollout.", "rollout.1.2", "pca", "hidden.1"] {
            assert_eq!(Attention::named(name), None, "{name}");
        }
    }
}
