//! Images from input tensors.

use super::request::{Data, Elements, Input};
use super::{IMAGE, PIXEL_VALUES};
use crate::commands::serve::failure::Failure;
use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vitraux::{Image, Tensor};

/// Images of a request.
pub enum Images {
    /// Tensors `[1, channels, height, width]`.
    Prepared(Vec<Tensor>),
    Files(Vec<Bytes>),
    Decoded(Vec<Image>),
}

impl Images {
    /// Reads the inputs of a request.
    ///
    /// # Errors
    /// Unless they are one tensor of at most so many images: a small body may hold millions of tiny ones.
    pub fn read(inputs: &[Input], elements: Vec<Elements>, most: usize) -> Result<Images, Failure> {
        let expected = format!("{PIXEL_VALUES} FP32 [B, channels, height, width], {IMAGE} BYTES [B] or {IMAGE} UINT8 [B, height, width, 3]");
        let ([input], Some(elements)) = (inputs, elements.into_iter().next()) else {
            return Err(Failure::invalid(format!("expected one input, {expected}; found {}", inputs.len())));
        };
        let described = format!("{} {} {:?}", input.name, input.datatype, input.shape);
        if input.shape.first().is_some_and(|batch| *batch > most) {
            return Err(Failure::too_many_images(most));
        }
        match (input.name.as_str(), input.datatype.as_str(), input.shape.as_slice()) {
            (PIXEL_VALUES, "FP32", &[batch, channels, height, width]) => {
                let image = [1, channels, height, width];
                let values = floats(elements, count(&input.shape, &described)?, &described)?;
                // In a batch it would fail those of other requests.
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return Err(Failure::invalid(format!("{}: expected finite numbers, found {value}", described)));
                }
                let images = values.chunks((values.len() / batch.max(1)).max(1)).map(|values| Tensor::new(image, values.to_vec()));
                images.collect::<vitraux::Result<_>>().map(Images::Prepared).map_err(|error| Failure::invalid(error.to_string()))
            }
            (IMAGE, "BYTES", &[batch] | &[batch, 1]) => files(elements, batch).map(Images::Files),
            (IMAGE, "UINT8", &[_, height, width, channels @ (1 | 3)]) => {
                let levels = levels(elements, count(&input.shape, &described)?, &described)?;
                let image = |levels: &[u8]| Image::new([height, width], channels, levels.to_vec());
                let images = levels.chunks((height * width * channels).max(1)).map(image);
                images.collect::<vitraux::Result<_>>().map(Images::Decoded).map_err(|error| Failure::invalid(error.to_string()))
            }
            _ => Err(Failure::invalid(format!("expected {expected}; found {}", described))),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Images::Prepared(images) => images.len(),
            Images::Files(files) => files.len(),
            Images::Decoded(images) => images.len(),
        }
    }
}

/// Returns the number of elements of a shape.
fn count(shape: &[usize], described: &str) -> Result<usize, Failure> {
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    count.filter(|count| *count > 0).ok_or_else(|| Failure::invalid(format!("{}: expected a shape with elements", described)))
}

fn wrong_count(described: &str, expected: usize, found: usize) -> Failure {
    Failure::invalid(format!("{}: expected {expected} elements, found {found}", described))
}

fn floats(elements: Elements, count: usize, described: &str) -> Result<Vec<f32>, Failure> {
    let values = match elements {
        Elements::Json(Data::Numbers(values)) => values,
        Elements::Json(Data::Strings(strings)) => {
            return Err(Failure::invalid(format!("{}: expected numbers, found {} strings", described, strings.len())));
        }
        Elements::Binary(bytes) if bytes.len().is_multiple_of(4) => {
            bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect()
        }
        Elements::Binary(bytes) => {
            return Err(Failure::invalid(format!("{}: expected 4 bytes for each element, found {} bytes", described, bytes.len())));
        }
    };
    if values.len() == count { Ok(values) } else { Err(wrong_count(described, count, values.len())) }
}

fn levels(elements: Elements, count: usize, described: &str) -> Result<Vec<u8>, Failure> {
    let levels = match elements {
        Elements::Binary(bytes) => bytes.to_vec(),
        elements => {
            let level = |value: &f32| if (0.0..=255.0).contains(value) && value.fract() == 0.0 { Some(*value as u8) } else { None };
            let values = floats(elements, count, described)?;
            values
                .iter()
                .map(level)
                .collect::<Option<_>>()
                .ok_or_else(|| Failure::invalid(format!("{}: expected levels from 0 to 255", described)))?
        }
    };
    if levels.len() == count { Ok(levels) } else { Err(wrong_count(described, count, levels.len())) }
}

/// Returns image files: in JSON as base64, in bytes each behind its length in 4 bytes.
fn files(elements: Elements, batch: usize) -> Result<Vec<Bytes>, Failure> {
    let described = format!("{IMAGE} BYTES [{batch}]");
    let files: Vec<Bytes> = match elements {
        Elements::Json(Data::Strings(strings)) if strings.len() != batch => return Err(wrong_count(&described, batch, strings.len())),
        Elements::Json(Data::Strings(strings)) => {
            let file = |text: &str| STANDARD.decode(text).map(Bytes::from);
            strings
                .iter()
                .map(file)
                .collect::<Result<_, _>>()
                .map_err(|error| Failure::invalid(format!("{}: expected base64: {error}", described)))?
        }
        Elements::Json(Data::Numbers(_)) => return Err(Failure::invalid(format!("{}: expected files in base64, found numbers", described))),
        Elements::Binary(mut bytes) => {
            let mut files = Vec::new();
            // One more than there should be is enough to refuse them.
            while !bytes.is_empty() && files.len() <= batch {
                let cut = || Failure::invalid(format!("{}: expected files with their lengths before them, found a truncated one", described));
                let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
                let rest = bytes.split_off(4);
                if rest.len() < length {
                    return Err(cut());
                }
                bytes = rest;
                files.push(bytes.split_to(length));
            }
            files
        }
    };
    if files.len() == batch { Ok(files) } else { Err(wrong_count(&described, batch, files.len())) }
}
