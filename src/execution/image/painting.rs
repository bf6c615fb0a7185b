//! Rendering of an image's maps as images.

use crate::data::config::{Map, MapKind};
use crate::data::error::{Error, Result};

/// Selection and style of a rendered map.
#[derive(Clone, Debug, PartialEq)]
pub struct Painting {
    image: usize,
    query: usize,
    /// The mean of all heads if `None`.
    head: Option<usize>,
    pub(crate) scale: Scale,
    pub(crate) opacity: f32,
}

impl Default for Painting {
    /// The class token's attention, averaged over the heads, in opaque colours.
    fn default() -> Painting {
        Painting { image: 0, query: 0, head: None, scale: Scale::Inferno, opacity: 1.0 }
    }
}

/// A palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// From black through purple and orange to pale yellow, perceptually uniform (matplotlib's).
    Inferno,
    /// No palette: red, green and blue are the value itself, for shaders to read. Depth is not stretched then.
    Values,
}

/// Number of evenly spaced colours in a palette.
pub const STOPS: usize = 256;

impl Scale {
    /// Returns the colours as encoded sRGB levels from 0 to 1; `None` for [`Scale::Values`].
    pub fn stops(self) -> Option<[[f32; 3]; STOPS]> {
        let stop = |i: usize| {
            let colour = colorous::INFERNO.eval_rational(i, STOPS);
            [colour.r, colour.g, colour.b].map(|level| f32::from(level) / 255.0)
        };
        (self == Scale::Inferno).then(|| std::array::from_fn(stop))
    }
}

/// Location of a painting's values in an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Index of the first patch's value.
    pub start: usize,
    /// Distance from head to head.
    pub stride: usize,
    /// Number of heads to average.
    pub heads: usize,
    /// Values per patch: 1 for a weight, 3 for a colour.
    pub channels: usize,
}

impl Painting {
    /// Sets the index of the image in the batch. Default: 0.
    #[must_use]
    pub fn image(self, image: usize) -> Painting {
        Painting { image, ..self }
    }

    /// Sets the index of the token, for outputs with a row of attention per token. Default: 0, which is the class token if there is one.
    #[must_use]
    pub fn query(self, query: usize) -> Painting {
        Painting { query, ..self }
    }

    /// Selects an attention head, or the mean of all heads by `None`, the default.
    #[must_use]
    pub fn head(self, head: impl Into<Option<usize>>) -> Painting {
        Painting { head: head.into(), ..self }
    }

    /// Sets the palette of the weights, which are stretched to their range over the image. Default: [`Scale::Inferno`].
    #[must_use]
    pub fn scale(self, scale: Scale) -> Painting {
        Painting { scale, ..self }
    }

    /// Sets the opacity over the background, from 0 to 1. Default: 1.
    #[must_use]
    pub fn opacity(self, opacity: f32) -> Painting {
        Painting { opacity, ..self }
    }

    /// Returns whether the values are stretched to their range: weights of attention always, others for the palette.
    pub(crate) fn stretches(&self, kind: MapKind) -> bool {
        match kind {
            MapKind::Attention { .. } => true,
            MapKind::Colours => false,
            MapKind::Values => self.scale != Scale::Values,
        }
    }

    /// Locates the values in an output of `images` images.
    ///
    /// # Errors
    /// [`Error::Argument`] if the image, token or head does not exist, or the opacity is not from 0 to 1.
    pub(crate) fn select(&self, map: &Map, images: usize) -> Result<Selection> {
        let patches = map.patches()?;
        let below = |what: &str, found: usize, count: usize| match found < count {
            true => Ok(found),
            false => Err(Error::argument("painting", format!("expected {what} below {count}, found {found}"))),
        };
        if !(0.0..=1.0).contains(&self.opacity) {
            return Err(Error::argument("painting", format!("expected an opacity from 0 to 1, found {}", self.opacity)));
        }
        let image = below("an image", self.image, images)?;
        let (of_heads, queries, first) = match map.kind {
            MapKind::Colours => return Ok(Selection { start: image * patches * 3, stride: 0, heads: 1, channels: 3 }),
            MapKind::Values => return Ok(Selection { start: image * patches, stride: 0, heads: 1, channels: 1 }),
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

/// A map drawn on the host, in encoded sRGB levels from 0 to 1, at any point of the image. A GPU draws the same into textures.
#[derive(Clone, Debug)]
pub struct Painted {
    grid: [usize; 2],
    share: [f32; 2],
    /// Per patch: a position in the palette, or a colour.
    values: Vec<f32>,
    channels: usize,
    stops: Option<[[f32; 3]; STOPS]>,
}

impl Painting {
    /// Selects and scales the values in an output of `images` images.
    ///
    /// # Errors
    /// [`Error::Argument`] if the output does not have the values of that many maps, the image, token or head does not exist, or the opacity is not from 0
    /// to 1.
    pub fn on_host(&self, map: &Map, output: &[f32], images: usize) -> Result<Painted> {
        let patches = map.patches()?;
        if map.values().and_then(|values| values.checked_mul(images)) != Some(output.len()) {
            return Err(Error::argument("output", format!("expected {images} images, each {map:?}, found {} values", output.len())));
        }
        let Selection { start, stride, heads, channels } = self.select(map, images)?;
        let mut values = output[start..][..patches * channels].to_vec();
        for head in 1..heads {
            values.iter_mut().zip(&output[start + head * stride..]).for_each(|(sum, weight)| *sum += weight);
        }
        if self.stretches(map.kind) {
            let (least, largest) = values.iter().fold((f32::MAX, f32::MIN), |(least, largest), value| (least.min(*value), largest.max(*value)));
            values.iter_mut().for_each(|value| *value = if largest > least { (*value - least) / (largest - least) } else { 0.0 });
        }
        Ok(Painted { grid: map.grid, share: map.share, values, channels, stops: self.scale.stops() })
    }
}

impl Painted {
    /// Returns the colour at a point of the image, from (0, 0) at the upper left to (1, 1) at the lower right.
    pub fn at(&self, [x, y]: [f32; 2]) -> [f32; 3] {
        let [rows, columns] = self.grid;
        let place = |at: f32, axis: usize| (at / self.share[axis] * self.grid[axis] as f32 - 0.5).clamp(0.0, (self.grid[axis] - 1) as f32);
        let (down, across) = (place(y, 0), place(x, 1));
        let value = |row: usize, column: usize, channel: usize| {
            let at = (row.min(rows - 1) * columns + column.min(columns - 1)) * self.channels + channel;
            self.values[at]
        };
        let mix = |low: f32, high: f32, share: f32| low + (high - low) * share;
        let between = |channel: usize| {
            let line = |row: usize| mix(value(row, across as usize, channel), value(row, across as usize + 1, channel), across.fract());
            mix(line(down as usize), line(down as usize + 1), down.fract())
        };
        match (&self.stops, self.channels) {
            (_, 3) => [0, 1, 2].map(between),
            (None, _) => [between(0); 3],
            (Some(stops), _) => {
                let place = between(0).clamp(0.0, 1.0) * (STOPS - 1) as f32;
                let below = (place as usize).min(STOPS - 2);
                std::array::from_fn(|channel| mix(stops[below][channel], stops[below + 1][channel], place - below as f32))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Map = Map { kind: MapKind::Attention { heads: 3, queries: 11, first: 1 }, grid: [2, 5], share: [1.0; 2] };

    #[test]
    fn painting_selects_the_requested_values() {
        let painting = Painting { image: 1, query: 4, head: Some(2), ..Painting::default() };
        assert_eq!(painting.select(&MAP, 2).expect("a row"), Selection { start: (5 * 11 + 4) * 11 + 1, stride: 121, heads: 1, channels: 1 });
        let mean = Painting::default().select(&MAP, 1).expect("rows");
        assert_eq!(mean, Selection { start: 1, stride: 121, heads: 3, channels: 1 });
        let depth = Map { kind: MapKind::Values, ..MAP };
        assert_eq!(painting.select(&depth, 2).expect("depth"), Selection { start: 10, stride: 0, heads: 1, channels: 1 });
        let colours = Map { kind: MapKind::Colours, ..MAP };
        assert_eq!(painting.select(&colours, 2).expect("colours"), Selection { start: 30, stride: 0, heads: 1, channels: 3 });
    }

    #[test]
    fn out_of_range_paintings_are_refused() {
        let refused = |painting: Painting| painting.select(&MAP, 2).expect_err("it is not there").to_string();
        assert!(refused(Painting { image: 2, ..Painting::default() }).contains("an image below 2, found 2"));
        assert!(refused(Painting { query: 11, ..Painting::default() }).contains("a token below 11"));
        assert!(refused(Painting { head: Some(3), ..Painting::default() }).contains("a head below 3"));
        assert!(refused(Painting { opacity: f32::NAN, ..Painting::default() }).contains("opacity from 0 to 1"));
    }

    #[test]
    fn colours_interpolate_linearly_between_patch_centres() {
        let map = Map { kind: MapKind::Attention { heads: 2, queries: 1, first: 1 }, grid: [1, 2], share: [1.0, 0.5] };
        // Two heads, each with a prefix token: means of 1 and 3.
        let painting = Painting { scale: Scale::Values, ..Painting::default() };
        let painted = painting.on_host(&map, &[9.0, 1.0, 2.0, 9.0, 1.0, 4.0], 1).expect("a map");
        // The patches cover the left half of the image.
        let places = [0.0, 0.125, 0.25, 0.375, 0.9];
        assert_eq!(places.map(|x| painted.at([x, 0.7])[0]), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn inferno_scale_runs_from_dark_to_light() {
        let stops = Scale::Inferno.stops().expect("colours");
        assert!(stops[0].iter().sum::<f32>() < 0.1 && stops[STOPS - 1].iter().sum::<f32>() > 2.0);
        assert_eq!(Scale::Values.stops(), None);
    }
}
