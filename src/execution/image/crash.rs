//! Panics of decoders, which are other crates', on damaged files.

use image::error::{DecodingError, ImageFormatHint};
use image::{ImageError, ImageResult};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a decoder. A panic becomes an error; if programs are built to abort on panics, it ends them.
pub fn caught<T>(call: impl FnOnce() -> ImageResult<T>) -> ImageResult<T> {
    let crash = || DecodingError::new(ImageFormatHint::Unknown, "the decoder crashed; the file is probably damaged");
    // A decoder that has panicked is not called again.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(ImageError::Decoding(crash())))
}
