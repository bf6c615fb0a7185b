//! JPEG XL, by the `jxl-oxide` crate. Its decoder for the `image` crate bounds neither colour profiles nor layers. The orientation in Exif is ignored, as the
//! standard asks for (ISO/IEC 18181-2): pixels are already turned.

use super::crash::caught;
use image::error::{DecodingError, ImageFormatHint};
use image::{ColorType, ImageDecoder, ImageError, ImageResult};
use jxl_bitstream::{Bitstream, ContainerParser, ParseEvent};
use jxl_oxide::image::BitDepth;
use jxl_oxide::{
    AllocTracker, EnumColourEncoding, FrameBufferSample, ImageHeader, ImageStream, InitializeResult, JxlImage, RenderingIntent, UninitializedJxlImage,
};
use jxl_oxide_common::Bundle;
use std::io;

/// Maximum size of a compressed colour profile, in bytes; those of printers have two million. A few bytes may stand for any size.
const PROFILE: u64 = 4 << 20;

/// Bytes that are read at a time. The colour profile is read from its start until all of it is there; and the frames of a part, of which an image may have any number
/// after the first, are dropped by calls within calls.
const PART: usize = 64 << 10;

/// Maximum number of layers that are blended to one image, each by a call within that of the next.
const LAYERS: usize = 256;

/// Returns the decoder of a file.
pub fn decoder(bytes: &[u8], limit: u64) -> ImageResult<Box<dyn ImageDecoder>> {
    if profile_len(bytes).is_some_and(|len| len > PROFILE) {
        return Err(damaged(format!("its colour profile has more than {PROFILE} bytes")));
    }
    let tracker = AllocTracker::with_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let file = JxlImage::builder().alloc_tracker(tracker).build_uninit();
    let mut image = caught(|| first_image(bytes, file)).ok_or_else(|| damaged("the decoder crashed"))??;
    if image.pixel_format().has_black() {
        image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative));
    }
    Ok(Box::new(Decoder(image)))
}

/// Reads a file up to the end of its first image, which of most files is the only one.
fn first_image(bytes: &[u8], mut file: UninitializedJxlImage) -> ImageResult<JxlImage> {
    let mut rest = bytes;
    // A part may have to be seen again with the next one.
    let mut feed = |take: &mut dyn FnMut(&[u8]) -> jxl_oxide::Result<usize>| {
        let read = take(&rest[..PART.min(rest.len())]).map_err(damaged)?;
        rest = &rest[read..];
        if read == 0 { Err(truncated()) } else { Ok(()) }
    };
    let mut image = loop {
        feed(&mut |part| file.feed_bytes(part))?;
        match file.try_init().map_err(damaged)? {
            InitializeResult::NeedMoreData(more) => file = more,
            InitializeResult::Initialized(image) => break image,
        }
    };
    // Of a part of it, a coarse image could be made.
    while image.num_loaded_keyframes() == 0 && image.num_loaded_frames() <= LAYERS {
        feed(&mut |part| image.feed_bytes(part))?;
    }
    let is_keyframe = |number: &usize| image.frame(*number).is_some_and(|frame| frame.header().is_keyframe());
    match (0..=LAYERS).find(is_keyframe) {
        Some(_) => Ok(image),
        None => Err(damaged(format!("it has more than {LAYERS} layers"))),
    }
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

#[cfg(test)]
mod tests {
    use crate::execution::image::Image;

    #[test]
    fn orientation_in_exif_turns_nothing() {
        let stream = include_bytes!("../../../tests/fixtures/formats/lossless.jxl");
        let framed = |kind: &[u8; 4], data: &[u8]| [&(8 + data.len() as u32).to_be_bytes()[..], kind, data].concat();
        // A quarter turn.
        let exif = b"\0\0\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let file = [framed(b"JXL ", b"\r\n\x87\n"), framed(b"ftyp", b"jxl \0\0\0\0jxl "), framed(b"Exif", exif), framed(b"jxlc", stream)].concat();
        let [plain, boxed] = [&stream[..], &file].map(|bytes| Image::decode("a.jxl", bytes).expect("an image"));
        assert!(plain.width != plain.height && plain == boxed);
    }
}
