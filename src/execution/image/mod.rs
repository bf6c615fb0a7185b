//! Images: decoding, preprocessing as in timm and transformers with Pillow, and rendering of maps.

#[cfg(feature = "image")]
mod crash;
#[cfg(feature = "image")]
mod decode;
mod dense;
pub(crate) mod filter;
#[cfg(feature = "image")]
mod formats;
#[cfg(feature = "heic")]
mod heic;
#[cfg(feature = "image")]
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
pub(crate) mod painting;
mod preprocess;
mod resample;
mod sampling;
#[cfg(feature = "image")]
mod tiff;

pub use dense::{classes_at, depth_at};
pub use preprocess::{Alpha, Crop, CropRounding, Filter, Levels, Preprocess, Resize};
pub use sampling::{Sampling, Taps};

use crate::data::error::{Error, Result};
use std::borrow::Cow;

/// Maximum height and width. The image itself may be small: how long resampling takes, and the memory for its weights, grow with the longer side.
const LARGEST_SIDE: usize = 1 << 20;

/// An 8-bit image, top row first, channels interleaved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// height · width · channels values.
    pub data: Vec<u8>,
    /// Opacity, height · width values from 0 to 255, if the image has an alpha channel.
    pub alpha: Option<Vec<u8>>,
}

impl Image {
    /// Creates an opaque image from `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `data` is empty or does not have height · width · channels values.
    pub fn new([height, width]: [usize; 2], channels: usize, data: Vec<u8>) -> Result<Image> {
        let count = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        match count == Some(data.len()) && !data.is_empty() {
            true => Ok(Image { width, height, channels, data, alpha: None }),
            false => Err(Error::argument(
                "data",
                format!("an image of {width} x {height} pixels and {channels} channels cannot be made from {} values", data.len()),
            )),
        }
    }

    /// Returns the image with `channels` channels, composited onto white if requested.
    ///
    /// # Errors
    /// [`Error::Argument`] if the image's channels cannot be converted.
    fn converted(&self, alpha: Alpha, channels: usize) -> Result<Converted<'_>> {
        // Anyone may change the fields.
        let pixels = self.height.checked_mul(self.width);
        let is_whole = pixels.and_then(|pixels| pixels.checked_mul(self.channels)) == Some(self.data.len()) && !self.data.is_empty();
        if !is_whole || self.alpha.as_ref().is_some_and(|alpha| Some(alpha.len()) != pixels) {
            let Image { width, height, channels, data, .. } = self;
            return Err(Error::argument(
                "image",
                format!(
                    "expected {width} x {height} pixels of {channels} channels, and as many levels of alpha if there are any, found {} values",
                    data.len()
                ),
            ));
        }
        if self.height.max(self.width) > LARGEST_SIDE {
            return Err(Error::argument("image", too_long([self.height, self.width])));
        }
        if !matches!((self.channels, channels), (1 | 3, 1 | 3)) && self.channels != channels {
            return Err(Error::argument(
                "image",
                format!("the model takes {channels} channels, the image has {}; pass pixel_values to `forward` instead", self.channels),
            ));
        }
        Ok(Converted { image: self, cover: self.alpha.as_deref().filter(|_| alpha == Alpha::OnWhite), channels })
    }
}

/// Returns the reason why an image of `[height, width]` with a side beyond [`LARGEST_SIDE`] is refused.
fn too_long([height, width]: [usize; 2]) -> String {
    format!("{width} x {height} pixels; expected at most {LARGEST_SIDE} along a side")
}

/// An image whose rows are converted as they are read, so that no second image is in memory.
struct Converted<'a> {
    image: &'a Image,
    /// Opacity of each pixel in front of white.
    cover: Option<&'a [u8]>,
    channels: usize,
}

impl Converted<'_> {
    /// Returns height and width.
    fn size(&self) -> [usize; 2] {
        [self.image.height, self.image.width]
    }

    /// Writes the levels of a row, mapped by `value`, to `row`. Grey from RGB is Pillow's `convert("L")` (ITU-R 601-2 luma).
    fn read<L>(&self, y: usize, row: &mut Vec<L>, value: impl Fn(u8) -> L) {
        let (from, width) = (self.image.channels, self.image.width);
        let levels = &self.image.data[y * width * from..][..width * from];
        let blended: Cow<'_, [u8]> = match self.cover {
            Some(cover) => {
                let pixels = levels.chunks_exact(from).zip(&cover[y * width..]);
                pixels.flat_map(|(pixel, &cover)| pixel.iter().map(move |&level| on_white(level, cover))).collect()
            }
            None => Cow::Borrowed(levels),
        };
        row.clear();
        match (from, self.channels) {
            (1, 3) => row.extend(blended.iter().flat_map(|&grey| [grey; 3]).map(value)),
            (3, 1) => row.extend(blended.chunks_exact(3).map(luma).map(value)),
            _ => row.extend(blended.iter().copied().map(value)),
        }
    }
}

/// Composites a level onto white, rounded as in Pillow's `alpha_composite`.
fn on_white(level: u8, cover: u8) -> u8 {
    let (level, cover) = (u32::from(level), u32::from(cover));
    let sum = (level * cover + 255 * (255 - cover)) * 128 + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}

fn luma(rgb: &[u8]) -> u8 {
    let sum = u32::from(rgb[0]) * 19595 + u32::from(rgb[1]) * 38470 + u32::from(rgb[2]) * 7471 + 0x8000;
    (sum >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_pixels_blend_onto_white() {
        assert_eq!([on_white(10, 0), on_white(10, 255), on_white(0, 128), on_white(255, 77)], [255, 10, 127, 255]);
    }
}
