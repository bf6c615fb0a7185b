//! JPEG XL, by the `jxl-oxide` crate. Its decoder for the `image` crate reads a file part by part, and its colour profile from the start with each part; this
//! one reads all at once. The orientation in Exif is ignored, as the standard asks for (ISO/IEC 18181-2): pixels are already turned.

use image::error::{DecodingError, ImageFormatHint};
use image::{ColorType, ImageDecoder, ImageError, ImageResult};
use jxl_bitstream::{Bitstream, ContainerParser, ParseEvent};
use jxl_oxide::image::BitDepth;
use jxl_oxide::{AllocTracker, EnumColourEncoding, FrameBufferSample, ImageHeader, ImageStream, InitializeResult, JxlImage, RenderingIntent};
use jxl_oxide_common::Bundle;
use std::io;

/// Maximum size of a compressed colour profile, in bytes; those of printers have two million. A few bytes may stand for any size.
const PROFILE: u64 = 4 << 20;

/// Maximum number of layers that are blended to one image, each by a call within that of the next.
const LAYERS: usize = 256;

/// Returns the decoder of a file.
pub fn decoder(bytes: &[u8], limit: u64) -> ImageResult<Box<dyn ImageDecoder>> {
    if profile_len(bytes).is_some_and(|len| len > PROFILE) {
        return Err(damaged(format!("its colour profile has more than {PROFILE} bytes")));
    }
    let tracker = AllocTracker::with_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut file = JxlImage::builder().alloc_tracker(tracker).build_uninit();
    file.feed_bytes(bytes).map_err(damaged)?;
    let InitializeResult::Initialized(mut image) = file.try_init().map_err(damaged)? else { return Err(truncated()) };
    // Of a part of a file, a coarse image could be made.
    if !image.is_loading_done() {
        return Err(truncated());
    }
    let is_keyframe = |number: &usize| image.frame(*number).is_some_and(|frame| frame.header().is_keyframe());
    let layers = (0..image.num_loaded_frames()).find(is_keyframe).ok_or_else(truncated)?;
    if layers > LAYERS {
        return Err(damaged(format!("it has more than {LAYERS} layers")));
    }
    if image.pixel_format().has_black() {
        image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative));
    }
    Ok(Box::new(Decoder(image)))
}

/// Returns the size of the compressed colour profile.
fn profile_len(bytes: &[u8]) -> Option<u64> {
    let mut stream = Vec::new();
    for event in ContainerParser::new().feed_bytes(bytes) {
        if let ParseEvent::Codestream(part) = event.ok()? {
            stream.extend_from_slice(part);
        }
    }
    let mut bits = Bitstream::new(&stream);
    let header = ImageHeader::parse(&mut bits, ()).ok()?;
    header.metadata.colour_encoding.want_icc().then(|| bits.read_u64().ok())?
}

struct Decoder(JxlImage);

impl ImageDecoder for Decoder {
    fn dimensions(&self) -> (u32, u32) {
        (self.0.width(), self.0.height())
    }

    fn color_type(&self) -> ColorType {
        let format = self.0.pixel_format();
        let depth = self.0.image_header().metadata.bit_depth;
        let is_float = matches!(depth, BitDepth::FloatSample { .. } | BitDepth::IntegerSample { bits_per_sample: 17.. });
        match (format.is_grayscale(), format.has_alpha(), is_float, depth.bits_per_sample() > 8) {
            (false, false, true, _) => ColorType::Rgb32F,
            (false, true, true, _) => ColorType::Rgba32F,
            (false, false, false, true) => ColorType::Rgb16,
            (false, true, false, true) => ColorType::Rgba16,
            (false, false, false, false) => ColorType::Rgb8,
            (false, true, false, false) => ColorType::Rgba8,
            (true, false, _, true) => ColorType::L16,
            (true, true, _, true) => ColorType::La16,
            (true, false, _, false) => ColorType::L8,
            (true, true, _, false) => ColorType::La8,
        }
    }

    fn read_image(self, levels: &mut [u8]) -> ImageResult<()> {
        let render = self.0.render_frame(0).map_err(damaged)?;
        let kind = self.color_type();
        match kind.bytes_per_pixel() / kind.channel_count() {
            1 => write::<u8>(render.stream(), levels),
            2 => write::<u16>(render.stream(), levels),
            _ => write::<f32>(render.stream(), levels),
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, levels: &mut [u8]) -> ImageResult<()> {
        // Without the asterisk, it would be this function again.
        (*self).read_image(levels)
    }
}

/// Writes rows of levels.
fn write<V: FrameBufferSample + bytemuck::Pod>(mut stream: ImageStream<'_>, levels: &mut [u8]) {
    let mut row = vec![V::zeroed(); stream.width() as usize * stream.channels() as usize];
    for levels in levels.chunks_mut(size_of_val(row.as_slice())) {
        stream.write_to_buffer(&mut row);
        levels.copy_from_slice(bytemuck::cast_slice(&row));
    }
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Name("JPEG XL".to_owned()), error))
}

fn truncated() -> ImageError {
    ImageError::IoError(io::ErrorKind::UnexpectedEof.into())
}
