//! Decoding of image files with the `image` crate, to RGB or grey as in Pillow's `convert`.

use super::crash::caught;
use super::jpeg::structure;
use super::{Image, LARGEST_SIDE, formats, tiff, too_long};
use crate::data::error::{Error, Result};
use crate::execution::storage;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Default maximum of the bytes that reading an image takes: 178 megapixels of 8-bit RGB.
const DEFAULT_LIMIT: u64 = 512 << 20;

/// Bytes that an image of any file may take, by default.
const ALWAYS: u64 = 128 << 20;

/// Bytes that an image may take for each byte of its file, by default. Photos take 90 at most; a file of a few bytes can claim any size.
const RATIO: u64 = 160;

/// Bytes that chunks of a PNG file beside the image may take when unpacked, such as a colour profile; the decoder also needs a row.
const PNG_CHUNKS: u64 = 32 << 20;

/// Returns the default limit for a file.
fn default_limit(len: u64) -> u64 {
    DEFAULT_LIMIT.min(ALWAYS.max(RATIO.saturating_mul(len)))
}

impl Image {
    /// Reads an image file (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM; with the features, JPEG XL and HEIC), whatever its extension, and applies its EXIF
    /// orientation. Colour profiles are ignored.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Image`] if it is not an image or is damaged; [`Error::ImageLimit`] if
    /// reading it takes more than 512 MiB, or more than 128 MiB and 160 times the size of its file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image> {
        let bytes = contents(path.as_ref(), DEFAULT_LIMIT)?;
        read(path.as_ref(), &bytes, default_limit(bytes.len() as u64))
    }

    /// Reads an image file that takes up to `bytes` of memory, as [`Image::open`] does.
    ///
    /// # Errors
    /// As [`Image::open`], with this limit.
    pub fn open_within(path: impl AsRef<Path>, bytes: u64) -> Result<Image> {
        read(path.as_ref(), &contents(path.as_ref(), bytes)?, bytes)
    }

    /// Decodes an image file in memory. Errors refer to it as `name`.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Image> {
        Image::decode_within(name, bytes, default_limit(bytes.len() as u64))
    }

    /// Decodes an image file in memory that takes up to `limit` bytes. Errors refer to it as `name`.
    ///
    /// # Errors
    /// As [`Image::open`], with this limit.
    pub fn decode_within(name: &str, bytes: &[u8], limit: u64) -> Result<Image> {
        read(Path::new(name), bytes, limit)
    }
}

/// Reads an image file of at most `limit` bytes.
fn contents(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // Pipes may never end.
    if let Some(other) = storage::kind(path).map_err(Error::io(path))? {
        return Err(Error::image(path, format!("expected an image, found {other}")));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let mut contents = Vec::new();
    file.take(limit + 1).read_to_end(&mut contents).map_err(Error::io(path))?;
    if contents.len() as u64 > limit {
        return Err(Error::image(path, format!("the file is larger than the limit of {} MiB", limit >> 20)));
    }
    Ok(contents)
}

/// A decoder, and what is known of the memory that it takes.
struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// Format, if it is one of the `image` crate's.
    format: Option<ImageFormat>,
    /// Whether it is a JPEG in several scans.
    has_scans: bool,
    /// Whether colours have been multiplied by the opacity.
    is_premultiplied: bool,
}

fn open<'a>(path: &Path, bytes: &'a [u8], limit: u64) -> Result<Opened<'a>> {
    let failed = |error: ImageError| Error::image(path, message(&error));
    #[cfg(any(feature = "jxl", feature = "heic"))]
    if let Some(decoder) = formats::decoder(bytes, limit) {
        return Ok(Opened { decoder: decoder.map_err(failed)?, format: None, has_scans: false, is_premultiplied: false });
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Error::io(path))?;
    // The image itself is checked below; of PNG, decoders count only what is beside it.
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(if reader.format() == Some(ImageFormat::Png) { PNG_CHUNKS } else { limit });
    reader.limits(limits);
    if reader.format().is_none() && tiff::is_big(bytes) {
        reader.set_format(ImageFormat::Tiff);
    }
    let format = reader.format();
    let (mut has_scans, mut is_premultiplied) = (false, false);
    match format {
        None if bytes.is_empty() => return Err(Error::image(path, "the file is empty")),
        None => return Err(Error::image(path, format!("not an image in a supported format ({})", formats::FORMATS))),
        Some(ImageFormat::Jpeg) => {
            let structure = structure(bytes);
            if !structure.is_complete {
                return Err(Error::image(path, "the file is truncated"));
            }
            has_scans = structure.has_scans;
        }
        Some(ImageFormat::Tiff) => is_premultiplied = tiff::check(bytes).map_err(failed)?,
        Some(_) => {}
    }
    Ok(Opened {
        decoder: Box::new(caught(|| reader.into_decoder()).ok_or_else(|| crashed(path))?.map_err(failed)?),
        format,
        has_scans,
        is_premultiplied,
    })
}

fn read(path: &Path, bytes: &[u8], limit: u64) -> Result<Image> {
    let failed = |error: ImageError| Error::image(path, message(&error));
    let Opened { mut decoder, format, has_scans, is_premultiplied } = open(path, bytes, limit)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Error::image(path, format!("{width} x {height} pixels: the file is damaged")));
    }
    let [height, width] = [height, width].map(|side| side as usize);
    if height.max(width) > LARGEST_SIDE {
        return Err(Error::image(path, too_long([height, width])));
    }
    // A broken orientation is no reason to reject the image.
    let orientation = caught(|| decoder.orientation()).and_then(|found| found.ok()).unwrap_or(Orientation::NoTransforms);
    let decoded = pixels * u64::from(decoder.color_type().bytes_per_pixel());
    let for_decoder = match format {
        // All coefficients are kept, in 16 bits.
        Some(ImageFormat::Jpeg) if has_scans => 2 * pixels * u64::from(decoder.original_color_type().channel_count()),
        // Decoded as RGBA first.
        Some(ImageFormat::WebP) => 4 * pixels,
        // A whole frame or strip beside the image.
        Some(ImageFormat::Gif | ImageFormat::Tiff) => decoded,
        // Three or four values of 32 bits.
        None => 16 * pixels,
        _ => 0,
    };
    let is_turned =
        !matches!(orientation, Orientation::NoTransforms | Orientation::Rotate180 | Orientation::FlipHorizontal | Orientation::FlipVertical);
    let needed = decoded + for_decoder.max(if is_turned { decoded } else { 0 }).max(for_conversion(decoder.color_type(), pixels));
    if needed > limit {
        return Err(Error::ImageLimit { path: path.to_owned(), size: [height, width], needed, allowed: limit });
    }
    let mut image = caught(|| DynamicImage::from_decoder(decoder)).ok_or_else(|| crashed(path))?.map_err(failed)?;
    image.apply_orientation(orientation);
    let mut image = plain(image);
    if is_premultiplied {
        divide_by_alpha(&mut image);
    }
    Ok(image)
}

/// Bytes that [`plain`] takes beside a decoded image.
fn for_conversion(color: ColorType, pixels: u64) -> u64 {
    match color {
        ColorType::L8 | ColorType::Rgb8 => 0,
        // Opacity.
        ColorType::La8 | ColorType::Rgba8 => pixels,
        color => pixels * u64::from(color.channel_count()),
    }
}

fn crashed(path: &Path) -> Error {
    Error::image(path, "the decoder crashed; the file is probably damaged")
}

fn message(error: &ImageError) -> String {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "the file is truncated".to_owned(),
        other => format!("cannot be decoded: {other}"),
    }
}

/// Converts to 8 bits. 16-bit levels keep their upper byte, as in Pillow for colour. Pillow's clipping of 16-bit grey to 255 is
/// a mistake that no viewer makes.
fn plain(image: DynamicImage) -> Image {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |levels: Vec<u16>| -> Vec<u8> { levels.into_iter().map(|level| (level >> 8) as u8).collect() };
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
        DynamicImage::ImageLumaA8(grey) => (2, grey.into_raw()),
        DynamicImage::ImageRgb8(rgb) => (3, rgb.into_raw()),
        DynamicImage::ImageRgba8(rgba) => (4, rgba.into_raw()),
        DynamicImage::ImageLuma16(grey) => (1, high(grey.into_raw())),
        DynamicImage::ImageLumaA16(grey) => (2, high(grey.into_raw())),
        DynamicImage::ImageRgb16(rgb) => (3, high(rgb.into_raw())),
        DynamicImage::ImageRgba16(rgba) => (4, high(rgba.into_raw())),
        other => (3, other.into_rgb8().into_raw()),
    };
    match channels {
        2 | 4 => {
            let alpha = data.iter().skip(channels - 1).step_by(channels).copied().collect();
            Image { width, height, channels: channels - 1, data: without_last(data, channels), alpha: Some(alpha) }
        }
        _ => Image { width, height, channels, data, alpha: None },
    }
}

/// Divides the colours of a premultiplied image by its opacity, as Pillow does.
fn divide_by_alpha(Image { channels, data, alpha, .. }: &mut Image) {
    for (pixel, alpha) in data.chunks_mut(*channels).zip(alpha.iter().flatten()) {
        if *alpha > 0 {
            pixel.iter_mut().for_each(|level| *level = (u16::from(*level) * 255 / u16::from(*alpha)).min(255) as u8);
        }
    }
}

/// Drops every `channels`-th value in place.
fn without_last(mut data: Vec<u8>, channels: usize) -> Vec<u8> {
    let kept = channels - 1;
    let pixels = data.len() / channels;
    for pixel in 0..pixels {
        data.copy_within(pixel * channels..pixel * channels + kept, pixel * kept);
    }
    data.truncate(pixels * kept);
    data
}
