//! What a kernel is: its descriptor, its parameters and constants, and what its twin on the CPU is called with.

use crate::data::capabilities::{Needs, Precision};
use crate::data::panels::Panels;

/// The most buffers that a kernel binds, its parameters aside (WebGPU guarantees 8).
pub const MAX_BINDINGS: usize = 8;

/// A kernel: one entry point of a WGSL file under a spec, and the function that does the same on the CPU. What can be computed in several
/// variants has a kernel for each, made of the value that describes the variant.
#[derive(Debug)]
pub struct Kernel {
    /// Its name, which no other kernel has.
    pub name: &'static str,
    /// The name of its entry point.
    pub entry: &'static str,
    /// Its file in `shaders/`, without the ending.
    pub file: &'static str,
    /// The file's text, directives not yet resolved.
    pub wgsl: &'static str,
    /// Pieces that somebody has edited, by name, which are imported instead of the built-in ones.
    pub edited: &'static [(&'static str, &'static str)],
    /// What makes it one variant of several; calls add to it.
    pub spec: Spec,
    /// Fields of the uniform struct `Params` at binding 0, in order.
    pub params: &'static [Field],
    /// The storage buffers in the order in which a dispatch lists them. Exactly one is written.
    pub bindings: &'static [Binding],
    /// What a device must be able to do.
    pub needs: Needs,
    /// The same work on the CPU.
    pub twin: Twin,
}

impl Kernel {
    /// A kernel that is the only variant of its entry point, and runs on every device.
    pub(crate) const fn new(
        name: &'static str,
        (file, wgsl): (&'static str, &'static str),
        params: &'static [Field],
        bindings: &'static [Binding],
        twin: Twin,
    ) -> Kernel {
        Kernel { name, entry: name, file, wgsl, edited: &[], spec: Spec::NONE, params, bindings, needs: Needs::NOTHING, twin }
    }

    /// Whether its text imports a piece.
    pub(crate) fn imports(&self, piece: &str) -> bool {
        self.wgsl.lines().any(|line| line.strip_prefix("#import ") == Some(piece))
    }

    /// Whether some call of it imports a piece, be it instead of another.
    pub fn may_import(&self, piece: &str) -> bool {
        let instead = self.spec.pieces.iter().chain(&[READ_PIECES, WRITTEN_PIECES, TILE_PIECES, CALL_PIECES]);
        self.imports(piece) || instead.into_iter().any(|(default, instead)| *instead == piece && self.imports(default))
    }

    /// The same with another text, and edited pieces.
    pub fn edited(&self, wgsl: &'static str, edited: &'static [(&'static str, &'static str)]) -> Kernel {
        let Kernel { name, entry, file, ref spec, params, bindings, needs, twin, .. } = *self;
        Kernel { name, entry, file, wgsl, edited, spec: spec.clone(), params, bindings, needs, twin }
    }

    /// The same for devices that can do this.
    pub(crate) const fn needing(mut self, needs: Needs) -> Kernel {
        self.needs = needs;
        self
    }
}

/// The path in `shaders/` and the text of a shader.
macro_rules! shader {
    ($file:literal) => {
        ($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")))
    };
}
pub(crate) use shader;

/// A 32-bit field of a kernel's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, in Rust as in WGSL.
    pub name: &'static str,
    /// `u32` or `f32`.
    pub kind: &'static str,
}

/// A storage buffer of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The number in `@binding(…)`.
    pub index: u32,
    /// The variable's name.
    pub name: &'static str,
    /// What the kernel does with it.
    pub access: Access,
}

/// What a kernel does with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only reads it.
    Read,
    /// Writes it, and may read what was there.
    Write,
}

/// A binding that is read.
pub(crate) const fn read(index: u32, name: &'static str) -> Binding {
    Binding { index, name, access: Access::Read }
}

/// A binding that is written.
pub(crate) const fn write(index: u32, name: &'static str) -> Binding {
    Binding { index, name, access: Access::Write }
}

/// A kernel's CPU twin.
pub type Twin = fn(Call<'_>);

/// What a twin is called with.
pub struct Call<'a> {
    /// The bytes of the kernel's parameters.
    pub params: &'a [u8],
    /// Values of the kernel's constants.
    pub spec: &'a Spec,
    /// The buffers that are only read, in the order of the kernel's bindings.
    pub reads: &'a [&'a [f32]],
    /// The weight among them that is in panels, if one is; its place in `reads` is empty.
    pub panels: Option<Panels<'a>>,
    /// The buffer that is written.
    pub write: &'a mut [f32],
}

impl<'a> Call<'a> {
    /// The right factor of a product, which is buffer `i` of those that are read.
    pub fn factor(&self, i: usize) -> Panels<'a> {
        self.panels.unwrap_or(Panels::F32(self.reads[i]))
    }
}

/// Declares a kernel's parameters once: the struct that Rust fills and the fields that the contract
/// test compares with WGSL. Every field has 4 bytes, so that both lay them out alike.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ident),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind),* }

        impl $name {
            /// The fields in order, for the kernel's descriptor.
            pub const FIELDS: &'static [$crate::data::record::Field] =
                &[$($crate::data::record::Field { name: stringify!($field), kind: stringify!($kind) }),*];
        }
    };
}
pub(crate) use params;

/// The piece that says what is read, and what a call imports instead of it where that is f16.
const READ_PIECES: (&str, &str) = ("common/x_f32", "common/x_f16");

/// The same of what is written.
const WRITTEN_PIECES: (&str, &str) = ("common/y_f32", "common/y_f16");

/// The piece that says how tiles of cooperative matrices lie in workgroup memory, and what is imported instead of it for Metal.
const TILE_PIECES: (&str, &str) = ("matmul/memory_vec4", "matmul/memory_scalar");

/// The piece that says how a product is written, and what is imported instead of it where columns are written four at a time.
const CALL_PIECES: (&str, &str) = ("matmul/call", "matmul/call_vec4");

/// What stands in a shader instead of its defaults. With the kernel it is the key of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Pieces by name, and those that are imported instead of them.
    pub pieces: Vec<(&'static str, &'static str)>,
    /// Constants by name, and their values.
    pub constants: Vec<(&'static str, u32)>,
    /// Whether loops are unrolled that say so.
    pub unrolls: bool,
}

impl Spec {
    /// The defaults.
    pub const NONE: Spec = Spec { pieces: Vec::new(), constants: Vec::new(), unrolls: false };

    /// The value of a constant that the recording kernel has set.
    pub fn get(&self, name: &str) -> u32 {
        let found = self.constants.iter().find(|(constant, _)| *constant == name);
        found.unwrap_or_else(|| panic!("the spec sets no constant {name}")).1
    }

    /// The same with some constants.
    pub fn with(mut self, constants: impl IntoIterator<Item = (&'static str, u32)>) -> Spec {
        self.constants.extend(constants);
        self
    }

    /// Whether what is read, or what is written, may be in f16.
    pub(crate) fn is_of_f16(&self, access: Access) -> bool {
        self.pieces.contains(match access {
            Access::Read => &READ_PIECES,
            Access::Write => &WRITTEN_PIECES,
        })
    }

    /// The same, in which loops are unrolled or not.
    pub fn unrolled(self, unrolls: bool) -> Spec {
        Spec { unrolls, ..self }
    }

    /// The same with a piece instead of another.
    pub fn with_piece(mut self, piece: &'static str, instead: &'static str) -> Spec {
        self.pieces.push((piece, instead));
        self
    }

    /// The same with tiles of cooperative matrices made of scalars.
    pub fn with_scalar_tiles(self) -> Spec {
        self.with_piece(TILE_PIECES.0, TILE_PIECES.1)
    }

    /// The same for products whose columns are written four at a time: N is a multiple of 4.
    pub fn in_fours(self) -> Spec {
        self.with_piece(CALL_PIECES.0, CALL_PIECES.1)
    }

    /// The same for a buffer of such elements that is read by the piece `common/x_f32`, or by that of f16.
    pub fn reading(self, precision: Precision) -> Spec {
        if precision == Precision::F16 { self.with_piece(READ_PIECES.0, READ_PIECES.1) } else { self }
    }

    /// The same for one that is written by the piece `common/y_f32`, or by that of f16.
    pub fn writing(self, precision: Precision) -> Spec {
        if precision == Precision::F16 { self.with_piece(WRITTEN_PIECES.0, WRITTEN_PIECES.1) } else { self }
    }
}
