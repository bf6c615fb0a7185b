//! What a kernel is: its descriptor, its parameters and constants, and what its twin on the CPU is called with.

use crate::capabilities::Needs;
use crate::panels::Panels;

/// The most buffers that a kernel binds, its parameters aside (WebGPU guarantees 8).
pub const MAX_BINDINGS: usize = 8;

/// A kernel: one entry point of a WGSL file, and the function that does the same on the CPU.
#[derive(Debug)]
pub struct Kernel {
    /// The entry point's name, which starts with the file's stem.
    pub name: &'static str,
    /// The file's text, `#import` lines not yet resolved.
    pub wgsl: &'static str,
    /// Fields of the uniform struct `Params` at binding 0, in order.
    pub params: &'static [Field],
    /// The storage buffers in the order in which a dispatch lists them. Exactly one is written.
    pub bindings: &'static [Binding],
    /// What a device must be able to do.
    pub needs: Needs,
    /// The same work on the CPU.
    pub twin: Twin,
}

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
            pub const FIELDS: &'static [$crate::record::Field] =
                &[$($crate::record::Field { name: stringify!($field), kind: stringify!($kind) }),*];
        }
    };
}
pub(crate) use params;

/// Values for a kernel's WGSL constants, by name. With the kernel it is the key of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spec(pub Vec<(&'static str, u32)>);

impl Spec {
    /// The value of a constant that the recording kernel has set.
    pub fn get(&self, name: &str) -> u32 {
        let found = self.0.iter().find(|(constant, _)| *constant == name);
        found.unwrap_or_else(|| panic!("the spec sets no constant {name}")).1
    }
}
