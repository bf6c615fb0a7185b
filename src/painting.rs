//! How maps of an image become pictures.

use crate::config::{Map, MapKind};
use crate::error::{Error, Result};

/// What of a map is painted, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Painting {
    /// The image's number in the batch.
    pub image: usize,
    /// Of an output with a row of attention for each token, the token's number: 0 is the class token where there is one.
    pub query: usize,
    /// Whose attention; the mean of all heads without.
    pub head: Option<usize>,
    /// The colours of weights, which are stretched to the range that they have over the image.
    pub scale: Scale,
    /// How much of what was there is covered, from 0 to 1.
    pub opacity: f32,
}

impl Default for Painting {
    /// The class token's attention, averaged over the heads, in colours that cover what was there.
    fn default() -> Painting {
        Painting { image: 0, query: 0, head: None, scale: Scale::Inferno, opacity: 1.0 }
    }
}

/// A scale of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From black through purple and orange to pale yellow, evenly to the eye (matplotlib's).
    Inferno,
    /// None: red, green and blue are the value itself, which shaders can read.
    Values,
}

/// Colours of a scale at equal distances.
pub const STOPS: usize = 256;

impl Scale {
    /// sRGB's encoded levels from 0 to 1; none for values themselves.
    pub fn stops(self) -> Option<[[f32; 3]; STOPS]> {
        let stop = |i: usize| {
            let colour = colorous::INFERNO.eval_rational(i, STOPS);
            [colour.r, colour.g, colour.b].map(|level| f32::from(level) / 255.0)
        };
        (self == Scale::Inferno).then(|| std::array::from_fn(stop))
    }
}

/// Where in an output the values are that a painting shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The first patch's value.
    pub start: usize,
    /// From head to head.
    pub stride: usize,
    /// Heads that are averaged.
    pub heads: usize,
    /// Values of a patch: 1 is a weight, 3 are colours.
    pub channels: usize,
}

impl Painting {
    /// Where the values are in an output of so many images.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such image, token or head, or the opacity is not from 0 to 1.
    pub fn select(&self, map: &Map, images: usize) -> Result<Selection> {
        let patches = map.grid[0] * map.grid[1];
        let below = |what: &str, found: usize, count: usize| match found < count {
            true => Ok(found),
            false => Err(Error::Argument(format!("a painting: expected {what} below {count}, found {found}"))),
        };
        if !(0.0..=1.0).contains(&self.opacity) {
            return Err(Error::Argument(format!("a painting: expected an opacity from 0 to 1, found {}", self.opacity)));
        }
        let image = below("an image", self.image, images)?;
        let (of_heads, queries, first) = match map.kind {
            MapKind::Colours => return Ok(Selection { start: image * patches * 3, stride: 0, heads: 1, channels: 3 }),
            MapKind::Attention { heads, queries, first } => (heads, queries, first),
        };
        let tokens = first + patches;
        // An output for a single token has one row.
        let row = if queries == 1 { 0 } else { below("a token", self.query, queries)? };
        let (head, heads) = match self.head {
            Some(head) => (below("a head", head, of_heads)?, 1),
            None => (0, of_heads),
        };
        Ok(Selection { start: ((image * of_heads + head) * queries + row) * tokens + first, stride: queries * tokens, heads, channels: 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Map = Map { kind: MapKind::Attention { heads: 3, queries: 11, first: 1 }, grid: [2, 5], share: [1.0; 2] };

    #[test]
    fn rows_are_found() {
        let painting = Painting { image: 1, query: 4, head: Some(2), ..Painting::default() };
        assert_eq!(painting.select(&MAP, 2).expect("a row"), Selection { start: (5 * 11 + 4) * 11 + 1, stride: 121, heads: 1, channels: 1 });
        let mean = Painting::default().select(&MAP, 1).expect("rows");
        assert_eq!(mean, Selection { start: 1, stride: 121, heads: 3, channels: 1 });
        let colours = Map { kind: MapKind::Colours, ..MAP };
        assert_eq!(painting.select(&colours, 2).expect("colours"), Selection { start: 30, stride: 0, heads: 1, channels: 3 });
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_so() {
        let refused = |painting: Painting| painting.select(&MAP, 2).expect_err("it is not there").to_string();
        assert!(refused(Painting { image: 2, ..Painting::default() }).contains("an image below 2, found 2"));
        assert!(refused(Painting { query: 11, ..Painting::default() }).contains("a token below 11"));
        assert!(refused(Painting { head: Some(3), ..Painting::default() }).contains("a head below 3"));
        assert!(refused(Painting { opacity: f32::NAN, ..Painting::default() }).contains("opacity from 0 to 1"));
    }

    #[test]
    fn the_scale_begins_dark_and_ends_light() {
        let stops = Scale::Inferno.stops().expect("colours");
        assert!(stops[0].iter().sum::<f32>() < 0.1 && stops[STOPS - 1].iter().sum::<f32>() > 2.0);
        assert_eq!(Scale::Values.stops(), None);
    }
}
