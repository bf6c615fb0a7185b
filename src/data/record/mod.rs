//! A forward pass as plain data: buffers, ordered dispatches, and outputs.
//!
//! Kernels write a [`Recording`]; `gpu` and `cpu` replay it. Nothing here depends on a device.

mod copy;
mod kernel;
mod tuning_key;

pub use kernel::{Access, Binding, Call, Field, Kernel, MAX_BINDINGS, PackedCopy, Spec, Twin};
pub(crate) use kernel::{params, read, shader, write};
pub use tuning_key::{Choices, TuningKey};

use crate::data::capabilities::{Capabilities, Precision};
use crate::data::error::{Error, Limit, Result};
use crate::data::panels;

/// A handle to a buffer in a [`Recording`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buf(usize);

impl Buf {
    /// Returns its index in [`Recording::buffers`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A buffer in a recording.
#[derive(Clone, Debug)]
pub struct BufferInfo {
    /// Label for messages and debuggers.
    pub label: String,
    /// Shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Source of its contents.
    pub role: Role,
    /// Element type: f32, except for rhs panels, f16 activations, and words of 8-bit integers.
    pub precision: Precision,
}

impl BufferInfo {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether it has no elements. A recording rejects such buffers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns its size in bytes, rounded up to whole words.
    pub fn bytes(&self) -> u64 {
        bytes(self.len(), self.precision.bits())
    }
}

/// Source of a buffer's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Written by the caller before each run; holds the input's index.
    Input(usize),
    /// Written once from the checkpoint; holds the weight's index.
    Weight(usize),
    /// Written by earlier dispatches.
    Scratch,
}

/// A buffer, or a range of it, as bound by a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The buffer.
    pub buf: Buf,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
    /// Bits per element.
    pub bits: u32,
}

impl View {
    /// Returns its offset in bytes.
    pub fn first_byte(&self) -> u64 {
        self.offset as u64 * u64::from(self.bits) / 8
    }

    /// Returns its size in bytes, rounded up to whole words.
    pub fn bytes(&self) -> u64 {
        bytes(self.len, self.bits)
    }
}

fn bytes(elements: usize, bits: u32) -> u64 {
    (elements as u64 * u64::from(bits) / 8).next_multiple_of(4)
}

/// A kernel call.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// Kernel to run.
    pub kernel: &'static Kernel,
    /// Constants and imported pieces.
    pub spec: Spec,
    /// Name of the step, such as `block3.attention`.
    pub label: String,
    /// Parameters as bytes.
    pub params: Vec<u8>,
    /// Floating-point operations of its products, two per multiply-add; 0 for memory-bound kernels.
    pub flops: u64,
    /// One view per binding of the kernel.
    pub views: Vec<View>,
    /// Workgroups along x, y and z.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// Returns the minimum bytes moved: each view once.
    pub fn bytes(&self) -> u64 {
        self.views.iter().map(View::bytes).sum()
    }
}

/// A step of a recording.
#[derive(Clone, Debug)]
pub enum Command {
    /// Runs a kernel.
    Dispatch(Dispatch),
    /// Saves the current contents of a buffer as an output.
    Save {
        /// Source buffer.
        from: Buf,
        /// Index in [`Recording::outputs`].
        output: usize,
    },
}

/// An output of a recording.
#[derive(Clone, Debug)]
pub struct Output {
    /// Name by which callers request it.
    pub name: String,
    /// Shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Element type on the device. Readers get f32.
    pub precision: Precision,
}

impl Output {
    /// Returns its size in bytes on the device, rounded up to whole words.
    pub fn bytes(&self) -> u64 {
        bytes(self.shape.iter().product(), self.precision.bits())
    }
}

/// Measured time of a dispatch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Timing {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Name of the step, such as `block3.attention`.
    pub label: String,
    /// Time on the device, in seconds.
    pub seconds: f64,
    /// Floating-point operations; see [`Dispatch::flops`].
    pub flops: u64,
    /// Minimum bytes moved; see [`Dispatch::bytes`].
    pub bytes: u64,
}

impl Timing {
    /// Returns the timing of a dispatch that took `seconds`.
    pub fn new(dispatch: &Dispatch, seconds: f64) -> Timing {
        let Dispatch { kernel, label, flops, .. } = dispatch;
        Timing { kernel: kernel.name, label: label.clone(), seconds, flops: *flops, bytes: dispatch.bytes() }
    }
}

/// Dispatches over named buffers, validated as they are recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    capabilities: Capabilities,
    precision: Precision,
    preferred: Option<&'static str>,
    choices: Choices,
    asked: Vec<TuningKey>,
    buffers: Vec<BufferInfo>,
    commands: Vec<Command>,
    outputs: Vec<Output>,
}

impl Recording {
    /// Creates an empty recording for a device with these capabilities.
    pub fn new(capabilities: Capabilities) -> Recording {
        Recording {
            capabilities,
            precision: Precision::F32,
            preferred: None,
            choices: Choices::default(),
            asked: Vec::new(),
            buffers: Vec::new(),
            commands: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Prefers the kernel of this name in later calls, wherever it applies and the device can run it. For tests and measurements.
    pub fn prefer(&mut self, kernel: &'static str) {
        self.preferred = Some(kernel);
    }

    /// Sets the preferred kernel, if any; see [`Recording::prefer`].
    pub fn preferring(self, kernel: Option<&'static str>) -> Recording {
        Recording { preferred: kernel, ..self }
    }

    /// Sets the tuning table that selects variants.
    pub fn with_choices(self, choices: Choices) -> Recording {
        Recording { choices, ..self }
    }

    /// Returns the tuning keys of recorded calls with several variants, deduplicated and in order.
    pub fn asked(&self) -> &[TuningKey] {
        &self.asked
    }

    /// Selects one of several equivalent variants and returns its index. Of those the device can run: the preferred one, else the
    /// one in the tuning table, else the default (the first that the device trusts), else the first.
    ///
    /// # Panics
    /// If the device can run none.
    pub(crate) fn choose<'a>(&mut self, key: Option<TuningKey>, variants: impl Iterator<Item = &'a Kernel>) -> usize {
        let able: Vec<_> = variants.enumerate().filter(|(_, kernel)| kernel.needs.met_by(&self.capabilities)).collect();
        if let Some(key) = key.filter(|key| able.len() > 1 && !self.asked.contains(key)) {
            self.asked.push(key);
        }
        let named = |name: &str| able.iter().find(|(_, kernel)| kernel.name == name);
        let of_table = || self.choices.get(&key?.to_string()).and_then(|name| named(name));
        let by_rule = || able.iter().find(|(_, kernel)| kernel.needs.trust <= self.capabilities.trust);
        self.preferred.and_then(named).or_else(of_table).or_else(by_rule).unwrap_or(&able[0]).0
    }

    /// Sets the precision of the rhs in later calls.
    pub fn with_precision(self, precision: Precision) -> Recording {
        Recording { precision, ..self }
    }

    /// Returns the precision of the rhs.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the precision of activations between kernels ([`Capabilities::activations`]).
    pub fn activations(&self) -> Precision {
        self.capabilities.activations(self.precision)
    }

    /// Returns the capabilities of the device.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns all buffers, ordered by [`Buf::index`].
    pub fn buffers(&self) -> &[BufferInfo] {
        &self.buffers
    }

    /// Returns the inputs, ordered by their numbers.
    pub fn inputs(&self) -> impl Iterator<Item = &BufferInfo> {
        self.buffers.iter().filter(|buffer| matches!(buffer.role, Role::Input(_)))
    }

    /// Returns all steps in order.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Returns the outputs, which are read back.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the element type of a buffer.
    pub fn precision_of(&self, buf: Buf) -> Precision {
        self.buffers[buf.0].precision
    }

    /// Returns the shape of a buffer.
    pub fn shape(&self, buf: Buf) -> &[usize] {
        &self.buffers[buf.0].shape
    }

    /// Returns a view of a whole buffer.
    pub fn all(&self, buf: Buf) -> View {
        self.part(buf, 0, self.buffers[buf.0].len())
    }

    /// Returns a view of `len` elements of a buffer, starting at `offset`.
    pub fn part(&self, buf: Buf, offset: usize, len: usize) -> View {
        View { buf, offset, len, bits: self.buffers[buf.0].precision.bits() }
    }

    /// Returns the bytes of the weights on a device.
    pub fn weight_bytes(&self) -> u64 {
        self.buffers.iter().filter(|buffer| matches!(buffer.role, Role::Weight(_))).map(BufferInfo::bytes).sum()
    }

    /// Returns the bytes of the buffers private to this recording: inputs with their staging buffers, scratch, and outputs.
    pub fn scratch_bytes(&self) -> u64 {
        let buffers = self.buffers.iter().map(|buffer| match buffer.role {
            Role::Weight(_) => 0,
            Role::Scratch => buffer.bytes(),
            Role::Input(_) => 2 * buffer.bytes(),
        });
        buffers.chain(self.outputs.iter().map(Output::bytes)).sum()
    }

    /// Adds a buffer that the caller fills before each run.
    ///
    /// # Errors
    /// [`Error::Limit`] if the buffer is too large for the device, as for every kind of buffer.
    pub fn input(&mut self, label: impl Into<String>, shape: &[usize]) -> Result<Buf> {
        self.input_in(label, shape, Precision::F32)
    }

    /// Adds an input with this element type. For tests and measurements.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn input_in(&mut self, label: impl Into<String>, shape: &[usize], precision: Precision) -> Result<Buf> {
        let count = self.count(|role| matches!(role, Role::Input(_)));
        self.buffer(label, shape, Role::Input(count), precision)
    }

    /// Adds a rhs w `[N, K]` in panels that the caller fills. For tests and measurements.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn input_factor(&mut self, label: impl Into<String>, sizes: [usize; 2]) -> Result<Buf> {
        let (label, precision) = (label.into(), self.precision);
        self.input_like(&BufferInfo { label, shape: panels::shape(sizes, precision).to_vec(), role: Role::Scratch, precision })
    }

    /// Adds an input with the label, shape and element type of another buffer.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn input_like(&mut self, info: &BufferInfo) -> Result<Buf> {
        self.input_in(&info.label, &info.shape, info.precision)
    }

    /// Adds a buffer filled once from the checkpoint.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn weight(&mut self, label: impl Into<String>, shape: &[usize]) -> Result<Buf> {
        let count = self.count(|role| matches!(role, Role::Weight(_)));
        self.buffer(label, shape, Role::Weight(count), Precision::F32)
    }

    /// Adds a rhs w `[N, K]` in panels of this precision, filled once from the checkpoint.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn factor(&mut self, label: impl Into<String>, sizes: [usize; 2], precision: Precision) -> Result<Buf> {
        let count = self.count(|role| matches!(role, Role::Weight(_)));
        self.buffer(label, &panels::shape(sizes, precision), Role::Weight(count), precision)
    }

    /// Adds a buffer that dispatches fill.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn scratch(&mut self, label: impl Into<String>, shape: &[usize]) -> Result<Buf> {
        self.scratch_in(label, shape, Precision::F32)
    }

    /// Adds a scratch buffer with this element type.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub fn scratch_in(&mut self, label: impl Into<String>, shape: &[usize], precision: Precision) -> Result<Buf> {
        self.buffer(label, shape, Role::Scratch, precision)
    }

    /// Returns the scratch buffer with this label, shape and precision, added on first use. It carries data from one dispatch to
    /// the next.
    ///
    /// # Errors
    /// See [`Recording::input`].
    pub(crate) fn shared_scratch(&mut self, label: &str, shape: &[usize], precision: Precision) -> Result<Buf> {
        let is_it =
            |buffer: &BufferInfo| buffer.role == Role::Scratch && buffer.label == label && buffer.shape == shape && buffer.precision == precision;
        match self.buffers.iter().position(is_it) {
            Some(place) => Ok(Buf(place)),
            None => self.buffer(label, shape, Role::Scratch, precision),
        }
    }

    fn count(&self, is: impl Fn(Role) -> bool) -> usize {
        self.buffers.iter().filter(|buffer| is(buffer.role)).count()
    }

    fn buffer(&mut self, label: impl Into<String>, shape: &[usize], role: Role, precision: Precision) -> Result<Buf> {
        let label = label.into();
        let elements = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
        let bytes = elements.and_then(|count| count.checked_mul(u64::from(precision.bits() / 8))).unwrap_or(u64::MAX);
        let allowed = self.capabilities.buffer_bytes;
        match bytes {
            needed if needed > allowed => Err(Error::Limit { what: format!("{label} {shape:?}"), limit: Limit::Buffer, needed, allowed }),
            0 => panic!("{label} {shape:?} is empty"),
            _ => {
                self.buffers.push(BufferInfo { label, shape: shape.to_vec(), role, precision });
                Ok(Buf(self.buffers.len() - 1))
            }
        }
    }

    /// Records a kernel call.
    ///
    /// # Errors
    /// [`Error::Limit`] if the grid or a binding exceeds the device's limits.
    ///
    /// # Panics
    /// If the call does not match the kernel's descriptor or the buffers that it binds, if the grid is empty, or if a written
    /// buffer is bound twice.
    pub fn dispatch(&mut self, dispatch: Dispatch) -> Result<()> {
        let Dispatch { kernel, spec, label, params, views, grid, .. } = &dispatch;
        assert_eq!(views.len(), kernel.bindings.len(), "{label}: bindings of {}", kernel.name);
        assert_eq!(params.len(), kernel.params.len() * 4, "{label}: parameters of {}", kernel.name);
        assert!(grid.iter().all(|&count| count > 0), "{label}: empty grid {grid:?}");
        for (binding, view) in kernel.bindings.iter().zip(views) {
            let buffer = &self.buffers[view.buf.0];
            assert!(view.len > 0 && view.offset + view.len <= buffer.len(), "{label}: {} reaches outside {}", binding.name, buffer.label);
            // Weight panels have their own pieces, and kernels that compute in f16 read f16 as is.
            let takes_f16 =
                spec.is_of_f16(binding.access) || binding.access == Access::Read && (kernel.needs.half || view.bits == 16 && binding.name == "w");
            assert!(buffer.precision != Precision::F16 || takes_f16, "{label}: {} is in f16", binding.name);
            if binding.access == Access::Write {
                let users = views.iter().filter(|other| other.buf == view.buf).count();
                assert_eq!(users, 1, "{label}: {} is written and bound twice", buffer.label);
                assert_eq!(buffer.role, Role::Scratch, "{label}: {} is not for writing", buffer.label);
            }
            let bytes = view.bytes();
            if bytes > self.capabilities.binding_bytes {
                return Err(Error::Limit {
                    what: format!("{label}, which binds {},", buffer.label),
                    limit: Limit::Binding,
                    needed: bytes,
                    allowed: self.capabilities.binding_bytes,
                });
            }
        }
        if let Some(count) = grid.iter().find(|&&count| count > self.capabilities.workgroups) {
            return Err(Error::Limit {
                what: label.clone(),
                limit: Limit::Workgroups,
                needed: u64::from(*count),
                allowed: u64::from(self.capabilities.workgroups),
            });
        }
        self.commands.push(Command::Dispatch(dispatch));
        Ok(())
    }

    /// Saves the current contents of `from` as output `name`.
    pub fn save(&mut self, name: impl Into<String>, from: Buf) {
        self.outputs.push(Output { name: name.into(), shape: self.shape(from).to_vec(), precision: self.precision_of(from) });
        self.commands.push(Command::Save { from, output: self.outputs.len() - 1 });
    }

    /// Returns a 1-D grid of at least `count` workgroups, folded over x and y where the device's limit requires it, with minimal
    /// excess. `fold` in `shaders/common/grid.wgsl` undoes it.
    pub fn folded(&self, count: usize) -> [u32; 3] {
        let down = count.div_ceil((self.capabilities.workgroups as usize).max(1)).max(1);
        let across = count.div_ceil(down).max(1);
        [across as u32, u32::try_from(down).unwrap_or(u32::MAX), 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_grid_covers_count_within_the_limit() {
        let recording = Recording::new(Capabilities { workgroups: 10, ..Capabilities::CPU });
        assert_eq!(recording.folded(7), [7, 1, 1]);
        assert_eq!(recording.folded(10), [10, 1, 1]);
        assert_eq!(recording.folded(11), [6, 2, 1]);
        assert_eq!(recording.folded(21), [7, 3, 1]);
        assert_eq!(recording.folded(100), [10, 10, 1]);
        assert_eq!(recording.folded(0), [1, 1, 1]);
        // A device without compute shaders: the dispatch is refused.
        let recording = Recording::new(Capabilities { workgroups: 0, ..Capabilities::CPU });
        assert_eq!(recording.folded(7), [1, 7, 1]);
    }

    #[test]
    fn oversized_buffer_error_names_buffer_and_limit() {
        let mut recording = Recording::new(Capabilities { buffer_bytes: 1024 * 1024, ..Capabilities::CPU });
        assert!(recording.scratch("small", &[1024, 256]).is_ok());
        let error = recording.scratch("large", &[1024, 257]).unwrap_err().to_string();
        assert!(error.contains("large [1024, 257]") && error.contains("1.0 MiB"), "{error}");
        assert!(recording.scratch("overflow", &[usize::MAX, usize::MAX]).is_err());
    }
}
