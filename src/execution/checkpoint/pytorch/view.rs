//! Tensors as parts of storages.

use super::{Parsed, quoted};
use crate::execution::checkpoint::memory::{Contents, Stored};
use crate::execution::checkpoint::strides::Strides;
use std::ops::Range;

/// Type of the elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element {
    /// Name as in safetensors.
    pub dtype: &'static str,
    pub bytes: usize,
}

impl Element {
    /// Returns the element type of a class of storages in torch.
    pub fn of_storage(class: &str) -> Option<Element> {
        let (dtype, bytes) = match class {
            "DoubleStorage" => ("F64", 8),
            "FloatStorage" => ("F32", 4),
            "HalfStorage" => ("F16", 2),
            "BFloat16Storage" => ("BF16", 2),
            "LongStorage" => ("I64", 8),
            "IntStorage" => ("I32", 4),
            "ShortStorage" => ("I16", 2),
            "CharStorage" => ("I8", 1),
            "ByteStorage" => ("U8", 1),
            "BoolStorage" => ("BOOL", 1),
            _ => return None,
        };
        Some(Element { dtype, bytes })
    }
}

/// Numbers that tensors share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage<'a> {
    pub element: Element,
    pub key: &'a str,
    /// Number of elements.
    pub len: usize,
}

impl Storage<'_> {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes
    }
}

/// A tensor as part of a storage. Offset and strides count elements.
#[derive(Debug, PartialEq)]
pub struct View<'a> {
    pub storage: Storage<'a>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View<'_> {
    /// Returns the tensor. Its storage lies at `place` in `contents`.
    pub fn stored(self, contents: &Contents, place: &Range<usize>) -> Parsed<Stored> {
        let Storage { element, key, len } = self.storage;
        if place.len() != self.storage.bytes() {
            return Err(format!(
                "storage {}: expected {} bytes for {len} elements of {}, found {}",
                quoted(key),
                self.storage.bytes(),
                element.dtype,
                place.len()
            ));
        }
        // Strides of 0 repeat elements, which would be any number of them.
        let count = self.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&count| count <= len);
        let count = count.ok_or_else(|| self.outside())?;
        let dtype = element.dtype.to_owned();
        if count == 0 {
            return Ok(Stored::new(dtype, self.shape, contents.clone(), place.start..place.start));
        }
        let mut steps = self.shape.iter().zip(&self.strides).map(|(&size, &stride)| (size - 1).checked_mul(stride));
        let last = steps.try_fold(self.offset, |sum, step| sum.checked_add(step?)).filter(|&last| last < len).ok_or_else(|| self.outside())?;
        let range = place.start + self.offset * element.bytes..place.start + (last + 1) * element.bytes;
        Ok(match self.is_dense() {
            true => Stored::new(dtype, self.shape, contents.clone(), range),
            false => {
                let strides = Strides { elements: self.strides, bytes: element.bytes };
                Stored::strided(dtype, self.shape, contents.clone(), range, strides)
            }
        })
    }

    /// Returns whether the elements follow each other in row-major order.
    fn is_dense(&self) -> bool {
        let row_major = |axis: usize| self.shape[axis + 1..].iter().product::<usize>();
        (0..self.shape.len()).all(|axis| self.shape[axis] == 1 || self.strides[axis] == row_major(axis))
    }

    fn outside(&self) -> String {
        let View { storage, offset, shape, strides } = self;
        format!("shape {shape:?} with strides {strides:?} at {offset} exceeds storage {}, which has {} elements", quoted(storage.key), storage.len)
    }
}
