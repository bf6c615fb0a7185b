//! HEIC, by the `heifer` crate. An image may be made of others, each of which is decoded as often as it is used, whatever size it has.

use super::crash::caught;
use heifer::image_crate::HeifDecoder;
use heifer_hevc_dec::nal::{split_annex_b, unescape_rbsp};
use heifer_hevc_dec::params::Sps;
use heifer_isobmff::{HeifFile, ItemId};
use image::error::{DecodingError, ImageFormatHint};
use image::{ImageDecoder, ImageError, ImageResult};
use std::collections::HashMap;

/// Bytes that a pixel takes in the decoder: four values of 16 bits in the image, and as many before they are put together.
const PIXEL: u64 = 16;

/// Maximum number of images that one is made of. A photo of 100 megapixels has 400.
const PARTS: usize = 2048;

/// Maximum depth of images made of others; the decoder's own.
const DEPTH: usize = 4;

/// Type of the network abstraction layer's units that hold a sequence parameter set (ITU-T H.265, table 7-1).
const SPS: u8 = 33;

/// Returns the decoder of a file.
pub fn decoder(bytes: &[u8], limit: u64) -> ImageResult<Box<dyn ImageDecoder + '_>> {
    let max_pixels = (limit / PIXEL).max(1);
    // What is damaged otherwise is the decoder's to report.
    if let Ok(file) = HeifFile::parse(bytes) {
        Parts::of(&file, 2 * max_pixels).check(file.primary_id, 0).map_err(damaged)?;
    }
    let options = heifer::Options { max_threads: 1, max_pixels };
    let decoder = caught(|| HeifDecoder::from_bytes(bytes, &options)).ok_or_else(|| damaged("the decoder crashed"))??;
    Ok(Box::new(decoder))
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Name("HEIC".to_owned()), error))
}

/// The images that are decoded for one.
struct Parts<'a> {
    file: &'a HeifFile<'a>,
    /// The images that one is made of, and those with its opacity.
    of: HashMap<ItemId, Vec<ItemId>>,
    /// Coded pixels of an image.
    pixels: HashMap<ItemId, u64>,
    /// How many images may follow.
    count: usize,
    /// How many pixels may follow.
    left: u64,
}

impl<'a> Parts<'a> {
    fn of(file: &'a HeifFile<'a>, left: u64) -> Parts<'a> {
        let mut of: HashMap<ItemId, Vec<ItemId>> = HashMap::new();
        for reference in &file.references {
            match &reference.ref_type.0 {
                b"dimg" => of.entry(reference.from).or_default().extend(&reference.to),
                b"auxl" => reference.to.iter().for_each(|to| of.entry(*to).or_default().push(reference.from)),
                _ => {}
            }
        }
        Parts { file, of, pixels: HashMap::new(), count: PARTS, left }
    }

    /// Counts an image and all that it is made of.
    fn check(&mut self, id: ItemId, depth: usize) -> Result<(), String> {
        let pixels = *self.pixels.entry(id).or_insert_with(|| coded_pixels(self.file, id));
        self.count = self.count.checked_sub(1).ok_or_else(|| format!("it is made of more than {PARTS} images"))?;
        self.left = self.left.checked_sub(pixels).ok_or("the images that it is made of have too many pixels")?;
        if depth < DEPTH {
            for part in self.of.get(&id).cloned().unwrap_or_default() {
                self.check(part, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Returns the pixels of a coded image, which its parameter sets tell; what the container says may be less.
fn coded_pixels(file: &HeifFile<'_>, id: ItemId) -> u64 {
    let Ok(stream) = file.hevc_bitstream(id) else { return 0 };
    let sets = split_annex_b(&stream).filter(|unit| unit.len() > 2 && unit[0] >> 1 & 0x3F == SPS);
    let pixels = sets
        .filter_map(|unit| Sps::parse(&unescape_rbsp(&unit[2..])).ok())
        .map(|set| u64::from(set.pic_width_in_luma_samples) * u64::from(set.pic_height_in_luma_samples));
    pixels.max().unwrap_or(0)
}
