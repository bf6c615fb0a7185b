//! Preprocessing of 8-bit images to `pixel_values`, as in timm and transformers with Pillow.
//!
//! Resampling is that of Pillow (`libImaging/Resample.c`, versions up to 12): horizontal pass first, 22-bit fixed-point
//! weights, each pass rounded to 8 bits. Only the pixels that the crop keeps are computed.

use super::resample::{Level, Region, resample, tables};
use super::sampling::Sampling;
use super::{Converted, Image};
use crate::data::error::{Error, Result};
use crate::data::levels::LevelTable;
use crate::data::tensor::Tensor;

/// Maximum pixels of a result, 4096 x 4096, so that a bogus size in a configuration cannot exhaust memory.
const LARGEST_RESULT: usize = 1 << 24;

/// Conversion of a decoded image to `pixel_values`: resize, crop, scale, normalise.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preprocess {
    /// Channels of the result: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Treatment of transparency.
    pub alpha: Alpha,
    /// Size that images are resized to.
    pub resize: Resize,
    /// Values that the resize operates on.
    pub resizes: Levels,
    /// Filter of the resize.
    pub filter: Filter,
    /// Crop or padding to the final size, if any.
    pub crop: Option<Crop>,
    /// Factor applied to 8-bit values.
    pub scale: f64,
    /// Mean of each channel, subtracted from the scaled values.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, by which the result is divided.
    pub std: Vec<f32>,
    /// Number that the sides of the result are multiples of, by zeros around the normalised image; half of them, rounded down, in front.
    pub pad: Option<usize>,
    /// Whether no file specifies the preprocessing, and these are the library's defaults for such models.
    pub assumed: bool,
}

/// Treatment of an image's transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alpha {
    /// Alpha is dropped: transparent pixels show their stored colour.
    Dropped,
    /// The image is composited onto white (transformers processors with `do_convert_rgb`).
    OnWhite,
}

/// Values that a resize operates on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Levels {
    /// 8-bit levels, rounded after each pass, as in Pillow.
    Rounded,
    /// Scaled values, not rounded (DINOv3's processor, with torch).
    Scaled,
}

/// Size that an image is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resize {
    /// The image's own size.
    Keep,
    /// Height and width, whatever the image's aspect ratio.
    Exact([usize; 2]),
    /// Shorter edge. The longer edge follows the aspect ratio, rounded down (torchvision's `Resize(int)`).
    ShortestEdge(usize),
    /// Smallest size with the image's aspect ratio that covers height × width (timm's `ResizeKeepRatio`).
    Cover([usize; 2]),
    /// Largest size with the image's aspect ratio that fits within height × width.
    Fit([usize; 2]),
    /// Height and width, each rounded to a multiple (transformers' DPT).
    Multiple {
        /// Height and width.
        size: [usize; 2],
        /// Number that both are multiples of.
        of: usize,
        /// Whether the image's aspect ratio is kept: both edges are scaled by the factor of the two that is closer to 1.
        keeps_ratio: bool,
    },
    /// Largest size of whole patches with about the image's aspect ratio (transformers' NaFlex processor).
    Patches {
        /// Side of a patch.
        side: usize,
        /// Maximum number of patches.
        most: usize,
    },
}

/// Centre crop to the final size. Pixels outside the image are filled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Crop {
    /// Height and width.
    pub size: [usize; 2],
    /// Rounding of half a pixel.
    pub rounding: CropRounding,
    /// Fill value outside the image, for each of R, G and B.
    pub fill: [u8; 3],
}

/// Rounding of crop offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CropRounding {
    /// Python's `round((size - crop) / 2)`: half to even (torchvision, timm).
    HalfEven,
    /// `(size - crop) // 2` (transformers' Pillow backends).
    Down,
    /// The same within the image; around it, the smaller half of the padding comes first (transformers' torchvision backends).
    TowardZero,
}

/// Resampling filters as defined by Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Average over the box.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming-windowed sinc of width 1.
    Hamming,
    /// Cubic with coefficient -0.5.
    Bicubic,
    /// Sinc windowed by sinc, three lobes.
    Lanczos,
}

impl Preprocess {
    /// Returns the preprocessing of a model trained on images resized to exactly `[height, width]`, with the mean and standard deviation of each channel
    /// (1 or 3) of levels scaled to 0..1. The filter is bicubic, there is no crop, and transparency is dropped; change the fields for anything else.
    ///
    /// ```
    /// use vitraux::Image;
    /// use vitraux::preprocess::{Filter, Preprocess};
    ///
    /// let mut preprocess = Preprocess::new([224, 224], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    /// preprocess.filter = Filter::Bilinear;
    /// let image = Image::new([2, 2], 3, vec![128; 12])?;
    /// assert_eq!(preprocess.apply(&image)?.shape(), [1, 3, 224, 224]);
    /// # Ok::<(), vitraux::Error>(())
    /// ```
    pub fn new<const CHANNELS: usize>(size: [usize; 2], mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> Preprocess {
        Preprocess {
            channels: CHANNELS,
            alpha: Alpha::Dropped,
            resize: Resize::Exact(size),
            resizes: Levels::Rounded,
            filter: Filter::Bicubic,
            crop: None,
            scale: 1.0 / 255.0,
            mean: mean.to_vec(),
            std: std.to_vec(),
            pad: None,
            assumed: false,
        }
    }

    /// Checks that the fields, which anyone may change, are usable and match.
    ///
    /// # Errors
    /// [`Error::Argument`] otherwise.
    pub(crate) fn check(&self) -> Result<()> {
        let sizes = match self.resize {
            Resize::Keep => [1; 2],
            Resize::Exact(size) | Resize::Cover(size) | Resize::Fit(size) => size,
            Resize::ShortestEdge(edge) => [edge; 2],
            Resize::Multiple { size, of, .. } => [size[0].min(size[1]), of],
            Resize::Patches { side, most } => [side, most],
        };
        let crop = self.crop.as_ref().map_or([1; 2], |crop| crop.size);
        if sizes.contains(&0) || crop.contains(&0) || self.pad == Some(0) {
            let found = format!("{:?}, a crop to {crop:?} and padding to {:?}", self.resize, self.pad);
            return Err(Error::argument("preprocess", format!("expected sizes above 0, found {found}")));
        }
        let channels = self.channels;
        if channels == 0 || self.mean.len() != channels || self.std.len() != channels {
            let found = format!("{channels} channels, {} means and {} deviations", self.mean.len(), self.std.len());
            return Err(Error::argument("preprocess", format!("expected a mean and a standard deviation for each channel, found {found}")));
        }
        let is_usable = |value: &f32| value.is_finite() && *value != 0.0;
        match self.mean.iter().all(|mean| mean.is_finite()) && self.std.iter().all(is_usable) && is_usable(&(self.scale as f32)) {
            true => Ok(()),
            false => Err(Error::argument(
                "preprocess",
                format!(
                    "expected finite numbers, and a scale and deviations other than 0, found the scale {}, means {:?} and deviations {:?}",
                    self.scale, self.mean, self.std
                ),
            )),
        }
    }

    /// Returns the `[height, width]` of the pixel values of an image of `[height, width]`, before anything is computed.
    ///
    /// # Errors
    /// [`Error::Argument`] if the result would be too large, the image is empty, or the fields are unusable.
    pub fn output_size(&self, image: [usize; 2]) -> Result<[usize; 2]> {
        Ok(self.frame(image)?.1.size)
    }

    /// Returns `pixel_values` `[1, channels, height, width]` of an image.
    ///
    /// # Errors
    /// [`Error::Argument`] if the image's channels cannot be converted to the model's, the result would be too large, or the fields are unusable.
    pub fn apply(&self, image: &Image) -> Result<Tensor> {
        self.check()?;
        let image = image.converted(self.alpha, self.channels)?;
        match (self.resizes, self.pad) {
            (Levels::Rounded, None) => {
                let table = LevelTable::new(self.channels, |channel, level| self.normalised(channel, self.scaled(level)));
                let (shape, levels) = self.framed(&image, |level| level, |_, fill| fill, |_, level: u8| level)?;
                Ok(Tensor::of_levels(shape, levels, table))
            }
            // No level stands for the zeros.
            (Levels::Rounded, Some(_)) => {
                let value = |channel, level| self.normalised(channel, self.scaled(level));
                let (shape, values) = self.framed(&image, |level| level, |_, _| 0.0, value)?;
                Tensor::new(shape, values)
            }
            (Levels::Scaled, _) => {
                let fill = |channel, fill| self.normalised(channel, self.scaled(fill));
                let (shape, values) = self.framed(&image, |level| self.scaled(level), fill, |channel, value| self.normalised(channel, value))?;
                Tensor::new(shape, values)
            }
        }
    }

    fn scaled(&self, level: u8) -> f32 {
        (f64::from(level) * self.scale) as f32
    }

    /// Normalises a scaled value. Each step is rounded to f32, as in the references.
    fn normalised(&self, channel: usize, scaled: f32) -> f32 {
        (scaled - self.mean[channel]) / self.std[channel]
    }

    /// Returns the sampling of images of `[height, width]` to pixel values, for images that are stored elsewhere, such as in a texture.
    ///
    /// # Errors
    /// As [`Preprocess::output_size`].
    pub fn sampling(&self, image: [usize; 2]) -> Result<Sampling> {
        let (resized, frame) = self.frame(image)?;
        let tables = match self.resizes {
            Levels::Rounded => tables::<u8>(image, resized, frame.region, self.filter),
            Levels::Scaled => tables::<f32>(image, resized, frame.region, self.filter),
        };
        let [rows, columns] = tables.ok_or_else(|| too_large(image, "an intermediate image that is too large"))?;
        Ok(Sampling { image, size: frame.size, offset: frame.offset, rows, columns })
    }

    /// Returns the part of an image of `[height, width]` that `pixel_values` show: left, top, width and height in the image's pixels.
    /// With padding, it extends beyond the image.
    ///
    /// # Errors
    /// As [`Preprocess::output_size`].
    pub fn seen(&self, image: [usize; 2]) -> Result<[f64; 4]> {
        let (resized, frame) = self.frame(image)?;
        let scale = [0, 1].map(|axis| image[axis] as f64 / resized[axis] as f64);
        let [top, left] = [frame.region.top as f64 - frame.offset[0] as f64, frame.region.left as f64 - frame.offset[1] as f64];
        let [height, width] = frame.size.map(|size| size as f64);
        Ok([left * scale[1], top * scale[0], width * scale[1], height * scale[0]])
    }

    /// Returns the size that an image is resized to, and its placement in the result.
    fn frame(&self, image: [usize; 2]) -> Result<([usize; 2], Frame)> {
        self.check()?;
        if image.contains(&0) {
            return Err(Error::argument("image", format!("expected pixels, found {} x {}", image[1], image[0])));
        }
        let size = resized(self.resize, image);
        let framed = match (&self.crop, self.pad) {
            (Some(crop), _) => Frame::new(crop, size),
            (None, pad) => Frame::padded(size, pad.unwrap_or(1)),
        };
        let [height, width] = framed.size;
        match height.checked_mul(width).is_none_or(|pixels| pixels > LARGEST_RESULT) {
            true => Err(too_large(image, &format!("pixel_values of {width} x {height}, more than the supported maximum"))),
            false => Ok((size, framed)),
        }
    }

    /// Resizes levels mapped by `level`, and crops, channel by channel. `fill` maps a channel and a fill level to the value outside the image;
    /// `value` maps a channel and a resized level to the value inside.
    fn framed<L: Level, V: Copy>(
        &self,
        image: &Converted<'_>,
        level: impl Fn(u8) -> L,
        fill: impl Fn(usize, u8) -> V,
        value: impl Fn(usize, L) -> V,
    ) -> Result<([usize; 4], Vec<V>)> {
        let source = image.size();
        let (size, framed) = self.frame(source)?;
        let [height, width] = framed.size;
        let region =
            resample(image, level, size, framed.region, self.filter).ok_or_else(|| too_large(source, "an intermediate image that is too large"))?;
        let fills = self.crop.as_ref().map_or([0; 3], |crop| crop.fill);
        let mut values = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            let plane = values.len();
            values.resize(plane + height * width, fill(channel, fills[channel.min(2)]));
            for (y, row) in region.data.chunks_exact(region.stride).enumerate() {
                let line = &mut values[plane + (framed.offset[0] + y) * width + framed.offset[1]..];
                for (place, pixel) in line.iter_mut().zip(row.chunks_exact(self.channels)) {
                    *place = value(channel, pixel[channel]);
                }
            }
        }
        Ok(([1, self.channels, height, width], values))
    }
}

fn too_large([height, width]: [usize; 2], what: &str) -> Error {
    Error::argument("image", format!("an image of {width} x {height} pixels gives {what}; scale it down first, or choose a smaller size"))
}

/// Returns the size that an image of `[height, width]` is resized to.
fn resized(resize: Resize, [height, width]: [usize; 2]) -> [usize; 2] {
    let by_ratio = |ratio: f64| [height, width].map(|size| ((size as f64 / ratio).round_ties_even() as usize).max(1));
    let ratios = |target: [usize; 2]| [height as f64 / target[0] as f64, width as f64 / target[1] as f64];
    match resize {
        Resize::Keep => [height, width],
        Resize::Exact(size) => size,
        Resize::ShortestEdge(edge) => {
            let long = |long: usize, short: usize| (edge as u128 * long as u128 / short as u128) as usize;
            if width <= height { [long(height, width), edge] } else { [edge, long(width, height)] }
        }
        Resize::Cover(target) => by_ratio(ratios(target)[0].min(ratios(target)[1])),
        Resize::Fit(target) => by_ratio(ratios(target)[0].max(ratios(target)[1])),
        Resize::Multiple { size, of, keeps_ratio } => {
            let scales = [size[0] as f64 / height as f64, size[1] as f64 / width as f64];
            let nearest = if (1.0 - scales[1]).abs() < (1.0 - scales[0]).abs() { scales[1] } else { scales[0] };
            let multiple = |scale: f64, side: usize| ((scale * side as f64 / of as f64).round_ties_even() as usize).max(1).saturating_mul(of);
            let [down, across] = if keeps_ratio { [nearest; 2] } else { scales };
            [multiple(down, height), multiple(across, width)]
        }
        Resize::Patches { side, most } => {
            let scaled = |scale: f64| [height, width].map(|size| ((size as f64 * scale / side as f64).ceil() as usize).max(1));
            // The search of the reference, whose result is not quite the largest scale.
            let (mut low, mut high) = (1e-6, 100.0);
            while high - low >= 1e-5 {
                let scale = (low + high) / 2.0;
                let [down, across] = scaled(scale);
                if down.saturating_mul(across) <= most { low = scale } else { high = scale }
            }
            scaled(low).map(|patches| patches.saturating_mul(side))
        }
    }
}

/// Placement of the resized image in the result.
struct Frame {
    /// Height and width of the result.
    size: [usize; 2],
    /// Visible part of the resized image.
    region: Region,
    /// Row and column of that part in the result.
    offset: [usize; 2],
}

impl Frame {
    /// Places the whole image in the middle of a result whose sides are multiples of `multiple`.
    fn padded(image: [usize; 2], multiple: usize) -> Frame {
        let size = image.map(|side| side.checked_next_multiple_of(multiple).unwrap_or(usize::MAX));
        let offset = [0, 1].map(|axis| (size[axis] - image[axis]) / 2);
        Frame { size, region: Region { top: 0, left: 0, height: image[0], width: image[1] }, offset }
    }

    fn new(crop: &Crop, image: [usize; 2]) -> Frame {
        let [(top, down, height), (left, across, width)] = [0, 1].map(|axis| placed(crop.rounding, image[axis], crop.size[axis]));
        Frame { size: crop.size, region: Region { top, left, height, width }, offset: [down, across] }
    }
}

/// Along one axis: returns the first visible pixel of the image, its position in the result, and the number of visible pixels.
fn placed(rounding: CropRounding, image: usize, crop: usize) -> (usize, usize, usize) {
    if image < crop {
        let missing = crop - image;
        // With padding, transformers' Pillow path puts the larger half first, torchvision the smaller.
        let front = if rounding == CropRounding::Down { missing.div_ceil(2) } else { missing / 2 };
        return (0, front, image);
    }
    let spare = image - crop;
    let first = match rounding {
        CropRounding::Down | CropRounding::TowardZero => spare / 2,
        CropRounding::HalfEven => (spare as f64 / 2.0).round_ties_even() as usize,
    };
    (first, 0, crop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::image::Filter;

    #[test]
    fn resized_sizes_round_like_the_reference_libraries() {
        assert_eq!(resized(Resize::ShortestEdge(71), [101, 143]), [71, 100]);
        assert_eq!(resized(Resize::ShortestEdge(64), [300, 1]), [19200, 64]);
        assert_eq!(resized(Resize::Cover([142, 80]), [247, 331]), [142, 190]);
        assert_eq!(resized(Resize::Fit([96, 96]), [247, 331]), [72, 96]);
        assert_eq!(resized(Resize::Patches { side: 16, most: 256 }, [480, 640]), [224, 288]);
        assert_eq!(resized(Resize::Patches { side: 16, most: 256 }, [1, 10_000]), [16, 4096]);
        let multiple = |of, keeps_ratio| Resize::Multiple { size: [42, 42], of, keeps_ratio };
        assert_eq!(resized(multiple(14, true), [103, 88]), [56, 42]);
        assert_eq!(resized(multiple(14, true), [91, 120]), [42, 56]);
        assert_eq!(resized(multiple(32, false), [91, 120]), [32, 32]);
        assert_eq!(resized(multiple(14, true), [1000, 3]), [42, 14]);
    }

    #[test]
    fn seen_returns_the_crop_in_image_pixels() {
        let crop = |size, rounding| Some(Crop { size: [size; 2], rounding, fill: [0; 3] });
        let seen = |resize, crop, image| {
            let (alpha, resizes, filter) = (Alpha::Dropped, Levels::Rounded, Filter::Bilinear);
            let [mean, std] = [0.0, 1.0].map(|value| vec![value]);
            Preprocess { channels: 1, alpha, resize, resizes, filter, crop, scale: 1.0, mean, std, pad: None, assumed: false }
                .seen(image)
                .expect("a size")
        };
        assert_eq!(seen(Resize::ShortestEdge(256), crop(224, CropRounding::HalfEven), [512, 768]), [160.0, 32.0, 448.0, 448.0]);
        assert_eq!(seen(Resize::Exact([64, 32]), None, [100, 100]), [0.0, 0.0, 100.0, 100.0]);
        // 80 x 40 pixels in the middle of 80 x 80.
        assert_eq!(seen(Resize::Keep, crop(80, CropRounding::HalfEven), [40, 80]), [0.0, -20.0, 80.0, 80.0]);
    }

    #[test]
    fn half_pixel_crops_round_like_each_reference() {
        assert_eq!(placed(CropRounding::HalfEven, 71, 64), (4, 0, 64));
        assert_eq!(placed(CropRounding::HalfEven, 69, 64), (2, 0, 64));
        assert_eq!(placed(CropRounding::Down, 71, 64), (3, 0, 64));
        assert_eq!(placed(CropRounding::TowardZero, 71, 64), (3, 0, 64));
        assert_eq!(placed(CropRounding::TowardZero, 61, 64), (0, 1, 61));
        assert_eq!(placed(CropRounding::HalfEven, 61, 64), (0, 1, 61));
        assert_eq!(placed(CropRounding::Down, 61, 64), (0, 2, 61));
    }
}
