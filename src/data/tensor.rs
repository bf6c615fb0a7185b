//! Host tensors: a shape and bytes, which may lie in a memory-mapped file.

use crate::data::error::{Error, Result};
use crate::data::levels::LevelTable;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Stored element type. Elements are read as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// IEEE 754 binary64, narrowed when read.
    F64,
    /// Bytes or one-byte booleans, as in masks.
    U8,
    /// 64-bit integers, as in masks.
    I64,
}

impl Dtype {
    /// Returns the bytes per element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::U8 => 1,
        }
    }
}

/// Bytes shared by tensors: a mapped file, a vector, or a file that is read range by range.
pub trait Bytes: Send + Sync {
    /// Returns where they are.
    fn place(&self) -> Place<'_>;

    /// Hints that `range` will not be read again soon, so its pages need not stay resident.
    fn release(&self, _: Range<usize>) {}
}

/// Where bytes are.
pub enum Place<'a> {
    Memory(&'a [u8]),
    /// In a file, of which each range is read when it is asked for.
    File(&'a dyn Ranges),
}

/// A file that is read range by range.
pub trait Ranges {
    /// Returns the number of bytes.
    fn len(&self) -> usize;

    /// Reads a range, which must lie within the file.
    ///
    /// # Errors
    /// [`Error::Io`] if reading fails; [`Error::File`] if the file has become shorter.
    fn read(&self, range: Range<usize>) -> Result<Vec<u8>>;
}

impl<'a> Place<'a> {
    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Place::Memory(bytes) => bytes.len(),
            Place::File(file) => file.len(),
        }
    }

    /// Returns the bytes of a range: borrowed if they are in memory, else read.
    ///
    /// # Errors
    /// As [`Ranges::read`].
    pub fn read(&self, range: Range<usize>) -> Result<Cow<'a, [u8]>> {
        match self {
            Place::Memory(bytes) => Ok(Cow::Borrowed(&bytes[range])),
            Place::File(file) => Ok(Cow::Owned(file.read(range)?)),
        }
    }
}

struct Owned<V>(Vec<V>);

impl<V: bytemuck::Pod + Send + Sync> Bytes for Owned<V> {
    fn place(&self) -> Place<'_> {
        Place::Memory(bytemuck::cast_slice(&self.0))
    }
}

#[derive(Clone)]
struct Part {
    dtype: Dtype,
    memory: Arc<dyn Bytes>,
    range: Range<usize>,
    /// Permutation of the axes applied on reading.
    order: Option<Order>,
    /// Lookup table for the bytes, if they are the levels of an image.
    table: Option<LevelTable>,
}

/// The stored shape, and the stored axis for each axis of the tensor.
#[derive(Clone)]
struct Order {
    stored: Vec<usize>,
    axes: &'static [usize],
}

impl Order {
    /// Returns `values` in the order of the tensor's axes.
    fn applied(&self, values: &[f32]) -> Vec<f32> {
        let stride = |axis: usize| self.stored[axis + 1..].iter().product::<usize>();
        let mut places = vec![0];
        for &axis in self.axes {
            places = places.iter().flat_map(|place| (0..self.stored[axis]).map(move |i| place + i * stride(axis))).collect();
        }
        places.into_iter().map(|place| values[place]).collect()
    }
}

impl Part {
    /// Borrows the bytes, if they are in memory.
    fn resident(&self) -> Option<&[u8]> {
        match self.memory.place() {
            Place::Memory(bytes) => Some(&bytes[self.range.clone()]),
            Place::File(_) => None,
        }
    }

    /// Borrows the part as f32, if it is in memory as aligned f32 in the tensor's order.
    fn in_place(&self) -> Option<&[f32]> {
        match self.dtype {
            Dtype::F32 if self.order.is_none() => bytemuck::try_cast_slice(self.resident()?).ok(),
            _ => None,
        }
    }

    fn extend(&self, out: &mut Vec<f32>) -> Result<()> {
        let start = out.len();
        self.extend_as_stored(&self.memory.place().read(self.range.clone())?, out);
        if let Some(order) = &self.order {
            let ordered = order.applied(&out[start..]);
            out.truncate(start);
            out.extend(ordered);
        }
        Ok(())
    }

    /// Appends runs of elements as stored, the first from the beginning and the last to the end.
    fn extend_sample(&self, out: &mut Vec<f32>) -> Result<()> {
        let (size, place) = (self.dtype.size(), self.memory.place());
        let len = self.range.len() / size;
        let runs = if len > RUNS * RUN { RUNS } else { 1 };
        let run = if runs == 1 { len } else { RUN };
        for i in 0..runs {
            let start = self.range.start + (len - run) * i / (RUNS - 1) * size;
            self.extend_as_stored(&place.read(start..start + run * size)?, out);
        }
        Ok(())
    }

    fn extend_as_stored(&self, bytes: &[u8], out: &mut Vec<f32>) {
        if let Some(table) = &self.table {
            return table.extend(bytes, out);
        }
        let halves = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        match self.dtype {
            Dtype::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(values) => out.extend_from_slice(values),
                Err(_) => out.extend(bytemuck::pod_collect_to_vec::<u8, f32>(bytes)),
            },
            Dtype::F64 => out.extend(bytemuck::pod_collect_to_vec::<u8, f64>(bytes).into_iter().map(|value| value as f32)),
            Dtype::F16 => out.extend(halves().map(|pair| half::f16::from_le_bytes(pair).to_f32())),
            Dtype::I64 => out.extend(bytemuck::pod_collect_to_vec::<u8, i64>(bytes).into_iter().map(|value| value as f32)),
            Dtype::U8 => out.extend(bytes.iter().map(|&byte| f32::from(byte))),
            Dtype::Bf16 => out.extend(halves().map(|pair| half::bf16::from_le_bytes(pair).to_f32())),
        }
    }
}

/// Runs of elements in a sample of a stored tensor, and their length.
const RUNS: usize = 8;
const RUN: usize = 64;

/// A dense row-major tensor. It may concatenate several stored tensors along the first axis: query, key and value of a
/// transformers checkpoint form one packed matrix.
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    parts: Vec<Part>,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor{:?}", self.shape)
    }
}

impl Tensor {
    /// Creates a tensor from values.
    ///
    /// # Errors
    /// [`Error::Argument`] if the number of `values` does not match `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Tensor> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if expected != Some(values.len()) {
            return Err(Error::argument("values", format!("a tensor of shape {shape:?} cannot be made from {} values", values.len())));
        }
        let range = 0..size_of_val(values.as_slice());
        let part = Part { dtype: Dtype::F32, memory: Arc::new(Owned(values)), range, order: None, table: None };
        Ok(Tensor { shape, parts: vec![part] })
    }

    /// Creates an image `[1, channels, height, width]` that stays in 8-bit levels.
    pub(crate) fn of_levels(shape: [usize; 4], levels: Vec<u8>, table: LevelTable) -> Tensor {
        assert_eq!((shape[0], shape.iter().product::<usize>()), (1, levels.len()), "levels of an image {shape:?}");
        let range = 0..levels.len();
        let part = Part { dtype: Dtype::U8, memory: Arc::new(Owned(levels)), range, order: None, table: Some(table) };
        Tensor { shape: shape.to_vec(), parts: vec![part] }
    }

    /// Returns the levels of each image and their lookup table, if the tensor is made of levels.
    pub(crate) fn levels(&self) -> Option<(Vec<&[u8]>, &LevelTable)> {
        let table = self.parts.first()?.table.as_ref()?;
        let is_alike = self.parts.iter().all(|part| part.order.is_none() && part.table.as_ref() == Some(table));
        if !is_alike || self.parts.len() != self.shape[0] {
            return None;
        }
        Some((self.parts.iter().map(Part::resident).collect::<Option<_>>()?, table))
    }

    /// Concatenates tensors of one shape along the first axis, without copying. Images prepared by
    /// [`Preprocess::apply`](crate::execution::image::Preprocess::apply) stay in 8-bit levels until a device reads them.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are none, they are scalars, or their shapes differ.
    pub fn stack(tensors: Vec<Tensor>) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::argument("tensors", "expected at least one tensor, found none"));
        };
        let mut shape = first.shape.clone();
        if let Some(other) = tensors.iter().find(|tensor| tensor.shape != shape) {
            return Err(Error::argument("tensors", format!("expected one shape, found {shape:?} and {:?}", other.shape)));
        }
        let Some(rows) = shape.first_mut() else {
            return Err(Error::argument("tensors", "expected an axis to stack along, found scalars"));
        };
        *rows = rows.checked_mul(tensors.len()).ok_or_else(|| Error::argument("tensors", "the number of rows exceeds 64 bits"))?;
        Ok(Tensor::concatenated(shape, tensors))
    }

    /// Creates a tensor of zeros.
    ///
    /// # Panics
    /// If the number of values exceeds what memory can hold.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Tensor {
        let shape = shape.into();
        let count = shape.iter().try_fold(1, |count: usize, &size| count.checked_mul(size)).expect("a number of values below 2^64");
        Tensor::new(shape, vec![0.0; count]).expect("as many zeros as the shape says")
    }

    /// Creates a view of stored bytes. `range` must hold exactly the elements of `shape`.
    pub(crate) fn view(shape: Vec<usize>, dtype: Dtype, memory: Arc<dyn Bytes>, range: Range<usize>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>() * dtype.size(), range.len(), "stored bytes of a tensor {shape:?}");
        Tensor { shape, parts: vec![Part { dtype, memory, range, order: None, table: None }] }
    }

    /// Reshapes to `shape`, which must have as many elements.
    pub(crate) fn reshaped(mut self, shape: Vec<usize>) -> Tensor {
        assert_eq!(self.shape.iter().product::<usize>(), shape.iter().product::<usize>(), "{:?} as {shape:?}", self.shape);
        self.shape = shape;
        self
    }

    /// Returns the rows in `range` along the first axis.
    pub(crate) fn rows(self, range: Range<usize>) -> Tensor {
        assert!(range.end <= self.shape[0], "rows {range:?} of {:?}", self.shape);
        let [part] = self.parts.as_slice() else { panic!("rows of a tensor in parts") };
        assert!(part.order.is_none(), "rows of a tensor whose axes are exchanged");
        let row = part.range.len() / self.shape[0];
        let bytes = part.range.start + range.start * row..part.range.start + range.end * row;
        let shape = [&[range.len()], &self.shape[1..]].concat();
        Tensor { shape, parts: vec![Part { range: bytes, ..part.clone() }] }
    }

    /// Permutes the axes: axis i of the result is axis `axes[i]` of this tensor.
    pub(crate) fn permuted(mut self, axes: &'static [usize]) -> Tensor {
        let [part] = self.parts.as_mut_slice() else { panic!("axes of a tensor in parts") };
        assert!(part.order.is_none() && axes.len() == self.shape.len(), "axes {axes:?} of {:?}", self.shape);
        let shape = axes.iter().map(|&axis| self.shape[axis]).collect();
        part.order = Some(Order { stored: self.shape, axes });
        self.shape = shape;
        self
    }

    /// Concatenates tensors into `shape`, which must have as many elements as all of them together.
    pub(crate) fn concatenated(shape: Vec<usize>, tensors: Vec<Tensor>) -> Tensor {
        let count: usize = tensors.iter().map(Tensor::len).sum();
        assert_eq!(count, shape.iter().product::<usize>(), "elements of a concatenation {shape:?}");
        Tensor { shape, parts: tensors.into_iter().flat_map(|tensor| tensor.parts).collect() }
    }

    /// Returns the stored element type, if all parts share one.
    pub(crate) fn stored_dtype(&self) -> Option<Dtype> {
        let first = self.parts.first()?.dtype;
        self.parts.iter().all(|part| part.dtype == first).then_some(first)
    }

    /// Returns the shape, outermost axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the elements in row-major order: borrowed if stored as one aligned block of f32, else converted, as for prepared
    /// images.
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.read().expect("tensors outside a checkpoint are in memory")
    }

    /// Returns some elements of each stored tensor that this one is made of, in stored order: 8 runs of 64, spread evenly, or all if there are no more.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be read.
    pub(crate) fn sample(&self) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.parts.iter().try_for_each(|part| part.extend_sample(&mut values))?;
        Ok(values)
    }

    /// Returns the tensor with its bytes in memory: what lies in a file that is read range by range is read.
    ///
    /// # Errors
    /// [`Error::Io`] if reading fails.
    pub(crate) fn in_memory(mut self) -> Result<Tensor> {
        for part in &mut self.parts {
            let Place::File(file) = part.memory.place() else { continue };
            let bytes = file.read(part.range.clone())?;
            (part.range, part.memory) = (0..bytes.len(), Arc::new(Owned(bytes)));
        }
        Ok(self)
    }

    /// Returns the elements of a tensor that may still have to be read from its file.
    fn read(&self) -> Result<Cow<'_, [f32]>> {
        if let [part] = self.parts.as_slice()
            && let Some(values) = part.in_place()
        {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = Vec::with_capacity(self.len());
        self.parts.iter().try_for_each(|part| part.extend(&mut values))?;
        Ok(Cow::Owned(values))
    }

    /// Returns the elements if all are finite.
    ///
    /// # Errors
    /// [`Error::Tensor`] if an element is not finite; the message gives the index of the first one. [`Error::Io`] if they cannot be read.
    pub(crate) fn finite_values(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let values = self.read()?;
        match not_finite(&values) {
            None => Ok(values),
            Some(place) => Err(Error::tensor(name, format!("element {place} of {:?} is {}, expected finite numbers", self.shape, values[place]))),
        }
    }

    /// Borrows the elements.
    ///
    /// # Panics
    /// If they are not one aligned block of f32; [`Tensor::materialized`] makes them one.
    pub(crate) fn slice(&self) -> &[f32] {
        match self.parts.as_slice() {
            [part] => part.in_place().expect("a materialized tensor"),
            _ => panic!("a materialized tensor"),
        }
    }

    /// Returns the tensor in a form whose [`values`](Tensor::values) are borrowed.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a value is not finite.
    pub(crate) fn materialized(self, name: &str) -> Result<Tensor> {
        let converted = match self.finite_values(name)? {
            Cow::Borrowed(_) => None,
            Cow::Owned(values) => Some(values),
        };
        match converted {
            None => Ok(self),
            Some(values) => {
                self.release();
                Tensor::new(self.shape, values)
            }
        }
    }

    /// Releases the mapped pages behind this tensor; later accesses read them from the file again.
    pub(crate) fn release(&self) {
        for part in &self.parts {
            part.memory.release(part.range.clone());
        }
    }
}

/// Numbers checked at a time: enough for a branch-free loop to pay off.
const STRETCH: usize = 1 << 14;

/// Returns the index of the first NaN or infinity.
fn not_finite(values: &[f32]) -> Option<usize> {
    let is_finite = |stretch: &[f32]| stretch.iter().fold(true, |all, value| all & value.is_finite());
    let first = values.chunks(STRETCH).position(|stretch| !is_finite(stretch))? * STRETCH;
    values[first..].iter().position(|value| !value.is_finite()).map(|place| first + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_finite_returns_first_non_finite_index() {
        let mut values = vec![0.5; 3 * STRETCH + 7];
        assert_eq!(not_finite(&values), None);
        for place in [3 * STRETCH + 6, 2 * STRETCH, STRETCH + 1, 0] {
            values[place] = if place.is_multiple_of(2) { f32::NAN } else { f32::NEG_INFINITY };
            assert_eq!(not_finite(&values), Some(place));
        }
    }

    #[test]
    fn sample_spans_each_stored_tensor() {
        let counted = |len: usize| Tensor::new([len], (0..len).map(|i| i as f32).collect()).expect("as many values");
        assert_eq!(counted(RUNS * RUN).sample().expect("it is in memory"), *counted(RUNS * RUN).values());
        let len = 100 * RUN;
        let sample = Tensor::stack(vec![counted(len), counted(len)]).expect("tensors of one shape").sample().expect("it is in memory");
        assert_eq!(sample.len(), 2 * RUNS * RUN);
        for sample in sample.chunks(RUNS * RUN) {
            assert!(sample[0] == 0.0 && sample[RUNS * RUN - 1] == (len - 1) as f32);
            assert!(sample.chunks(RUN).all(|run| run.windows(2).all(|pair| pair[1] == pair[0] + 1.0)));
            assert!(sample.chunks(RUN).zip(sample.chunks(RUN).skip(1)).all(|(run, next)| next[0] - run[0] > RUN as f32));
        }
    }

    #[test]
    fn stack_concatenates_tensors_along_the_batch_axis() {
        let table = LevelTable::new(2, |channel, level| f32::from(level) - 1000.0 * channel as f32);
        let image = |first: u8| Tensor::of_levels([1, 2, 1, 3], (first..first + 6).collect(), table.clone());
        let stack = Tensor::stack(vec![image(1), image(101)]).expect("tensors of one shape");
        assert_eq!(stack.shape(), [2, 2, 1, 3]);
        assert_eq!(*stack.values(), [1.0, 2.0, 3.0, -996.0, -995.0, -994.0, 101.0, 102.0, 103.0, -896.0, -895.0, -894.0]);
        assert_eq!(stack.levels().expect("it is made of levels").0.concat(), [1, 2, 3, 4, 5, 6, 101, 102, 103, 104, 105, 106]);
        let numbers = Tensor::zeros([1, 2, 1, 3]);
        assert!(Tensor::stack(vec![image(1), numbers.clone()]).expect("tensors of one shape").levels().is_none());
        assert!(numbers.levels().is_none());
        for wrong in [vec![], vec![numbers, Tensor::zeros([1, 6])]] {
            assert!(Tensor::stack(wrong).is_err());
        }
    }
}
