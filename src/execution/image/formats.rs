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

/// Returns the decoder of an image file, if its format is one of these. Decoding takes up to about `limit` bytes.
#[cfg(any(feature = "jxl", feature = "heic"))]
pub fn decoder(bytes: &[u8], limit: u64) -> Option<ImageResult<Box<dyn ImageDecoder + '_>>> {
    #[cfg(feature = "jxl")]
    if [&[0xFF, 0x0A][..], b"\0\0\0\x0CJXL \r\n\x87\n"].iter().any(|start| bytes.starts_with(start)) {
        return Some(super::jxl::decoder(bytes, limit));
    }
    #[cfg(feature = "heic")]
    if heifer::check_file_type(bytes) == heifer::FileTypeResult::Supported {
        return Some(super::heic::decoder(bytes, limit));
    }
    None
}
