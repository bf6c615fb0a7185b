//! Kernels: descriptors, parameters, constants, and the call that a CPU twin receives.

use crate::data::capabilities::{Needs, Precision};
use crate::data::panels::Panels;

/// Maximum buffers bound by a kernel, not counting its parameters (WebGPU guarantees 8).
pub const MAX_BINDINGS: usize = 8;

/// One entry point of a WGSL file under a spec, and the function that computes the same on the CPU. An operation with several
/// variants has a kernel for each, built from the value that describes the variant.
#[derive(Debug)]
pub struct Kernel {
    /// Unique name.
    pub name: &'static str,
    /// Name of the entry point.
    pub entry: &'static str,
    /// File in `shaders/`, without the extension.
    pub file: &'static str,
    /// Text of the file, with unresolved directives.
    pub wgsl: &'static str,
    /// Edited pieces, by name, that override the built-in ones.
    pub edited: &'static [(&'static str, &'static str)],
    /// Constants and pieces that define the variant; calls add to them.
    pub spec: Spec,
    /// Fields of the uniform struct `Params` at binding 0, in order.
    pub params: &'static [Field],
    /// Storage buffers, in the order of a dispatch's views. Exactly one is written.
    pub bindings: &'static [Binding],
    /// Requirements on the device.
    pub needs: Needs,
    /// CPU implementation.
    pub twin: Twin,
}

impl Kernel {
    /// Creates a kernel that is the only variant of its entry point and runs on every device.
    pub(crate) const fn new(
        name: &'static str,
        (file, wgsl): (&'static str, &'static str),
        params: &'static [Field],
        bindings: &'static [Binding],
        twin: Twin,
    ) -> Kernel {
        Kernel { name, entry: name, file, wgsl, edited: &[], spec: Spec::NONE, params, bindings, needs: Needs::NOTHING, twin }
    }

    /// Returns whether its text imports a piece.
    pub(crate) fn imports(&self, piece: &str) -> bool {
        self.wgsl.lines().any(|line| line.strip_prefix("#import ") == Some(piece))
    }

    /// Returns whether any call imports a piece, directly or as a replacement.
    pub fn may_import(&self, piece: &str) -> bool {
        let instead = self.spec.pieces.iter().chain(&[READ_PIECES, WRITTEN_PIECES, TILE_PIECES, CALL_PIECES]);
        self.imports(piece) || instead.into_iter().any(|(default, instead)| *instead == piece && self.imports(default))
    }

    /// Returns a copy with another text and edited pieces.
    pub fn edited(&self, wgsl: &'static str, edited: &'static [(&'static str, &'static str)]) -> Kernel {
        let Kernel { name, entry, file, ref spec, params, bindings, needs, twin, .. } = *self;
        Kernel { name, entry, file, wgsl, edited, spec: spec.clone(), params, bindings, needs, twin }
    }

    /// Sets the requirements on the device.
    pub(crate) const fn needing(mut self, needs: Needs) -> Kernel {
        self.needs = needs;
        self
    }
}

/// Expands to a shader's path in `shaders/` and its text.
macro_rules! shader {
    ($file:literal) => {
        ($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")))
    };
}
pub(crate) use shader;

/// A 32-bit field of a kernel's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, the same in Rust and WGSL.
    pub name: &'static str,
    /// Type: `u32` or `f32`.
    pub kind: &'static str,
}

/// A storage buffer of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Number in `@binding(…)`.
    pub index: u32,
    /// Name of the variable.
    pub name: &'static str,
    /// Access by the kernel.
    pub access: Access,
}

/// A kernel's access to a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Written; earlier contents may be read.
    Write,
}

/// Declares a binding that is read.
pub(crate) const fn read(index: u32, name: &'static str) -> Binding {
    Binding { index, name, access: Access::Read }
}

/// Declares a binding that is written.
pub(crate) const fn write(index: u32, name: &'static str) -> Binding {
    Binding { index, name, access: Access::Write }
}

/// A kernel's CPU twin.
pub type Twin = fn(Call<'_>);

/// Arguments of a twin.
pub struct Call<'a> {
    /// The kernel's parameters as bytes.
    pub params: &'a [u8],
    /// The kernel's constants.
    pub spec: &'a Spec,
    /// Read-only buffers, in the order of the kernel's bindings.
    pub reads: &'a [&'a [f32]],
    /// The read-only buffer that is a weight in panels, if any; its entry in `reads` is empty.
    pub panels: Option<Panels<'a>>,
    /// The written buffer.
    pub write: &'a mut [f32],
    /// The packed copy of it that is made next, if any. A twin may make it while the rows are in cache.
    pub packed: Option<&'a dyn PackedCopy>,
}

/// A copy of rows in words of several numbers.
pub trait PackedCopy: Sync {
    /// Promises to pack all rows, in stretches that begin at multiples of `columns`. Returns false, and promises nothing, if such a stretch cannot be packed
    /// on its own.
    fn promise(&self, columns: usize) -> bool;

    /// Returns whether nothing reads the rows themselves, so that they need not be written.
    fn replaces_rows(&self) -> bool;

    /// Packs the values of a row from column `first`.
    ///
    /// # Safety
    /// No two threads may pack the same columns of a row.
    unsafe fn pack(&self, row: usize, first: usize, values: &[f32]);
}

impl<'a> Call<'a> {
    /// Returns the rhs of a product, which is buffer `i` of `reads`.
    pub fn factor(&self, i: usize) -> Panels<'a> {
        self.panels.unwrap_or(Panels::F32(self.reads[i]))
    }

    /// Returns the words of a rhs in bf16 or int8, which is buffer `i` of `reads`.
    pub fn factor_words(&self, i: usize) -> &'a [u32] {
        match self.factor(i) {
            Panels::Bf16Pairs(words) | Panels::Int8(words) => words,
            Panels::F32(bits) => bytemuck::cast_slice(bits),
            other => panic!("expected words of several numbers, found {other:?}"),
        }
    }
}

/// Declares a kernel's parameters once: the struct that Rust fills, and the fields that the contract
/// test compares with WGSL. Every field has 4 bytes, so both languages agree on the layout.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ident),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind),* }

        impl $name {
            /// Fields in order, for the kernel's descriptor.
            pub const FIELDS: &'static [$crate::data::record::Field] =
                &[$($crate::data::record::Field { name: stringify!($field), kind: stringify!($kind) }),*];
        }
    };
}
pub(crate) use params;

/// The piece that defines the element type of reads, and its replacement for f16.
const READ_PIECES: (&str, &str) = ("common/x_f32", "common/x_f16");

/// The piece that defines the element type of writes, and its replacement for f16.
const WRITTEN_PIECES: (&str, &str) = ("common/y_f32", "common/y_f16");

/// The piece that defines the layout of cooperative-matrix tiles in workgroup memory, and its replacement for Metal.
const TILE_PIECES: (&str, &str) = ("matmul/memory_vec4", "matmul/memory_scalar");

/// The piece that defines the epilogue of a product, and its replacement that writes four columns at a time.
const CALL_PIECES: (&str, &str) = ("matmul/call", "matmul/call_vec4");

/// Replacements for a shader's defaults. The kernel and its spec form the pipeline key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Pieces to replace, and their replacements, by name.
    pub pieces: Vec<(&'static str, &'static str)>,
    /// Constants and their values.
    pub constants: Vec<(&'static str, u32)>,
    /// Whether to unroll the loops marked for it.
    pub unrolls: bool,
}

impl Spec {
    /// All defaults.
    pub const NONE: Spec = Spec { pieces: Vec::new(), constants: Vec::new(), unrolls: false };

    /// Returns the value of a constant that the recording kernel has set.
    pub fn get(&self, name: &str) -> u32 {
        let found = self.constants.iter().find(|(constant, _)| *constant == name);
        found.unwrap_or_else(|| panic!("the spec sets no constant {name}")).1
    }

    /// Adds constants.
    pub fn with(mut self, constants: impl IntoIterator<Item = (&'static str, u32)>) -> Spec {
        self.constants.extend(constants);
        self
    }

    /// Returns whether the spec switches this access to f16.
    pub(crate) fn is_of_f16(&self, access: Access) -> bool {
        self.pieces.contains(match access {
            Access::Read => &READ_PIECES,
            Access::Write => &WRITTEN_PIECES,
        })
    }

    /// Sets whether marked loops are unrolled.
    pub fn unrolled(self, unrolls: bool) -> Spec {
        Spec { unrolls, ..self }
    }

    /// Replaces `piece` with `instead`.
    pub fn with_piece(mut self, piece: &'static str, instead: &'static str) -> Spec {
        self.pieces.push((piece, instead));
        self
    }

    /// Stores cooperative-matrix tiles as scalars.
    pub fn with_scalar_tiles(self) -> Spec {
        self.with_piece(TILE_PIECES.0, TILE_PIECES.1)
    }

    /// Writes the product four columns at a time: N must be a multiple of 4.
    pub fn in_fours(self) -> Spec {
        self.with_piece(CALL_PIECES.0, CALL_PIECES.1)
    }

    /// Selects the piece for reads of this element type, instead of `common/x_f32`.
    pub fn reading(self, precision: Precision) -> Spec {
        if precision == Precision::F16 { self.with_piece(READ_PIECES.0, READ_PIECES.1) } else { self }
    }

    /// Selects the piece for writes of this element type, instead of `common/y_f32`.
    pub fn writing(self, precision: Precision) -> Spec {
        if precision == Precision::F16 { self.with_piece(WRITTEN_PIECES.0, WRITTEN_PIECES.1) } else { self }
    }
}
