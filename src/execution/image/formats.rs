//! Formats of optional features, which other crates than `image` read.

#[cfg(any(feature = "jxl", feature = "heic"))]
use image::{ImageDecoder, ImageResult};

/// Names of the formats that are read.
pub const FORMATS: &str = match (cfg!(feature = "jxl"), cfg!(feature = "heic")) {
    (false, false) => "PNG, JPEG, WebP, BMP, GIF, TIFF, PNM",
    (true, false) => "PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, JPEG XL",
    (false, true) => "PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, HEIC",
    (true, true) => "PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, JPEG XL, HEIC",
};

/// Bytes that a pixel takes in HEIC's decoder: four values of 16 bits in the image, and as many before they are put together.
#[cfg(feature = "heic")]
const HEIC_PIXEL: u64 = 16;

/// Returns the decoder of an image file, if its format is one of these. Decoding takes up to about `limit` bytes.
#[cfg(any(feature = "jxl", feature = "heic"))]
pub fn decoder(bytes: &[u8], limit: u64) -> Option<ImageResult<Box<dyn ImageDecoder + '_>>> {
    #[cfg(feature = "jxl")]
    if [&[0xFF, 0x0A][..], b"\0\0\0\x0CJXL \r\n\x87\n"].iter().any(|start| bytes.starts_with(start)) {
        return Some(jxl(bytes, limit));
    }
    #[cfg(feature = "heic")]
    if heifer::check_file_type(bytes) == heifer::FileTypeResult::Supported {
        let options = heifer::Options { max_threads: 1, max_pixels: (limit / HEIC_PIXEL).max(1) };
        return Some(heifer::image_crate::HeifDecoder::from_bytes(bytes, &options).map(|decoder| Box::new(decoder) as _));
    }
    None
}

#[cfg(feature = "jxl")]
fn jxl(bytes: &[u8], limit: u64) -> ImageResult<Box<dyn ImageDecoder + '_>> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
        image::ImageError::Decoding(image::error::DecodingError::new(image::error::ImageFormatHint::Name("JPEG XL".to_owned()), error))
    };
    // Of a part of a file, the decoder makes a coarse image.
    let tracker = jxl_oxide::AllocTracker::with_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let whole = jxl_oxide::JxlImage::builder().alloc_tracker(tracker).read(bytes).map_err(damaged)?;
    if !whole.is_loading_done() {
        return Err(image::ImageError::IoError(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let mut decoder = jxl_oxide::integration::JxlDecoder::new(bytes)?;
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(limit);
    decoder.set_limits(limits)?;
    Ok(Box::new(decoder))
}
