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

/// Beginnings of the files whose offsets have 64 bits.
const BIG: [&[u8]; 2] = [b"II\x2B\0", b"MM\0\x2B"];

/// Opacity with which the colours have been multiplied (TIFF 6.0, ExtraSamples).
const PREMULTIPLIED: u64 = 1;

/// Order in which the first pixel is in the lowest bit of a byte (TIFF 6.0, FillOrder).
const REVERSED: u64 = 2;

/// Samples that are floating-point numbers (TIFF 6.0, SampleFormat).
const FLOAT: u64 = 3;

/// Returns whether a file is a BigTIFF, which the `image` crate reads but does not recognise.
pub fn is_big(bytes: &[u8]) -> bool {
    BIG.iter().any(|start| bytes.starts_with(start))
}

/// Checks that decoding takes about as much as the file's size and the image's make one expect, and that the decoder does not misread the levels. Returns whether
/// colours have been multiplied by the opacity.
pub fn check(bytes: &[u8]) -> Result<bool, ImageError> {
    // What is damaged otherwise is the decoder's to report.
    let Some(Ok(mut decoder)) = caught(|| Decoder::new(Cursor::new(bytes))) else { return Ok(false) };
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
        // The decoder puts these before each part, without their end and its start.
        let tables = decoder.find_tag(Tag::JPEGTables).ok().flatten().and_then(|tables| tables.into_u8_vec().ok());
        let tables = tables.as_ref().map(|tables| &tables[..tables.len().saturating_sub(2)]);
        for (offset, len) in offsets.iter().zip(&lens) {
            let end = offset.saturating_add(*len).min(bytes.len() as u64) as usize;
            let part = bytes.get(*offset as usize..end).unwrap_or_default();
            let found = match tables {
                Some(tables) => structure(&[tables, part.get(2..).unwrap_or_default()].concat()),
                None => structure(part),
            };
            let [rows, columns] = found.size.map(u32::from);
            if rows > largest[0] || columns > largest[1] || found.has_scans {
                return Err(damaged(format!("a part of {width} x {height} pixels is a JPEG image of {columns} x {rows} or in several scans")));
            }
        }
    }
    let mut first = |tag| decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten().and_then(|values| values.first().copied());
    // The decoder ignores the order, and takes all samples of 32 bits in colour for floating-point numbers.
    if first(Tag::FillOrder) == Some(REVERSED) {
        return Err(damaged("its bits are in reverse order (FillOrder 2), which is not supported; save it with FillOrder 1".to_owned()));
    }
    if first(Tag::BitsPerSample) == Some(32) && first(Tag::SampleFormat) != Some(FLOAT) {
        return Err(damaged("its levels are integers of 32 bits; expected 8 or 16 bits, or floating-point numbers".to_owned()));
    }
    Ok(first(Tag::ExtraSamples) == Some(PREMULTIPLIED))
}

fn damaged(message: String) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), message))
}
