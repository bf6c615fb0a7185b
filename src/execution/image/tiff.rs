//! Structure of TIFF files. Its strips or tiles may all point to the same bytes, and hold JPEG images of any size.

use super::crash::caught;
use super::jpeg::structure;
use image::error::{DecodingError, ImageFormatHint};
use image::{ImageError, ImageFormat};
use std::io::Cursor;
use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::{CompressionMethod, Tag};

/// Bytes that strips or tiles may have, on top of 16 times those of the file: some programs store equal tiles once.
const SHARED: u64 = 1 << 20;

/// Multiple to which the sides of a JPEG image are rounded up.
const BLOCK: u32 = 16;

/// Checks that decoding takes about as much as the file's size and the image's make one expect.
pub fn check(bytes: &[u8]) -> Result<(), ImageError> {
    // What is damaged otherwise is the decoder's to report.
    let Some(Ok(mut decoder)) = caught(|| Decoder::new(Cursor::new(bytes))) else { return Ok(()) };
    let places = match decoder.get_chunk_type() {
        ChunkType::Strip => [Tag::StripOffsets, Tag::StripByteCounts],
        ChunkType::Tile => [Tag::TileOffsets, Tag::TileByteCounts],
    };
    let [offsets, lens] = places.map(|tag| decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten().unwrap_or_default());
    let sum = lens.iter().fold(0u64, |sum, len| sum.saturating_add(*len));
    let len = bytes.len() as u64;
    if sum > SHARED + 16 * len {
        return Err(damaged(format!("its parts have {sum} bytes, the file {len}")));
    }
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten().map(CompressionMethod::from_u16_exhaustive);
    if matches!(compression, Some(CompressionMethod::JPEG | CompressionMethod::ModernJPEG)) {
        let (width, height) = decoder.chunk_dimensions();
        let largest = [height, width].map(|edge| edge.saturating_add(BLOCK - 1) / BLOCK * BLOCK);
        for (offset, len) in offsets.iter().zip(&lens) {
            let end = offset.saturating_add(*len).min(bytes.len() as u64) as usize;
            let found = structure(bytes.get(*offset as usize..end).unwrap_or_default());
            let [rows, columns] = found.size.map(u32::from);
            if rows > largest[0] || columns > largest[1] || found.has_scans {
                return Err(damaged(format!("a part of {width} x {height} pixels is a JPEG image of {columns} x {rows} or in several scans")));
            }
        }
    }
    Ok(())
}

fn damaged(message: String) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), message))
}
