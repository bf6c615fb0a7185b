//! Tensors as parts of storages.

use super::{Parsed, quoted};
use crate::execution::checkpoint::memory::{Contents, Stored};
use crate::execution::checkpoint::strides::Strides;
use std::ops::Range;

/// Type of the elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Returns the element type of a class of storages in torch.
    pub fn of_storage(class: &str) -> Option<Element> {
        match class {
            "DoubleStorage" => Some(Element::F64),
            "FloatStorage" => Some(Element::F32),
            "HalfStorage" => Some(Element::F16),
            "BFloat16Storage" => Some(Element::Bf16),
            "LongStorage" => Some(Element::I64),
            "IntStorage" => Some(Element::I32),
            "ShortStorage" => Some(Element::I16),
            "CharStorage" => Some(Element::I8),
            "ByteStorage" => Some(Element::U8),
            "BoolStorage" => Some(Element::Bool),
            _ => None,
        }
    }

    /// Returns the number of bytes.
    pub fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    /// Returns the name in safetensors.
    fn dtype(self) -> String {
        format!("{self:?}").to_uppercase()
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
        self.len * self.element.size()
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
        let (dtype, size) = (element.dtype(), element.size());
        if place.len() != self.storage.bytes() {
            return Err(format!(
                "storage {}: expected {} bytes for {len} elements of {}, found {}",
                quoted(key),
                self.storage.bytes(),
                dtype,
                place.len()
            ));
        }
        let count = self.count().ok_or_else(|| self.outside())?;
        if count == 0 {
            return Ok(Stored::new(dtype, self.shape, contents.clone(), place.start..place.start));
        }
        let mut steps = self.shape.iter().zip(&self.strides).map(|(&size, &stride)| (size - 1).checked_mul(stride));
        let last = steps.try_fold(self.offset, |sum, step| sum.checked_add(step?)).filter(|&last| last < len).ok_or_else(|| self.outside())?;
        let range = place.start + self.offset * size..place.start + (last + 1) * size;
        Ok(match self.is_dense() {
            true => Stored::new(dtype, self.shape, contents.clone(), range),
            false => {
                let strides = Strides { elements: self.strides, bytes: size };
                Stored::strided(dtype, self.shape, contents.clone(), range, strides)
            }
        })
    }

    /// Returns the number of bytes of the elements; 0 if the storage has less elements.
    pub fn bytes(&self) -> usize {
        self.count().map_or(0, |count| count * self.storage.element.size())
    }

    /// Returns the number of elements. Strides of 0 repeat elements, which could be any number; as many as the storage has are allowed.
    fn count(&self) -> Option<usize> {
        // Products of some of the sizes fit too.
        self.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)))?;
        Some(self.shape.iter().product()).filter(|&count: &usize| count <= self.storage.len)
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
