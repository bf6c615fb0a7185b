//! Kernel variants.

use crate::data::record::Kernel;

/// A variant: its parameters and the kernel built from them.
#[derive(Debug)]
pub struct Variant<S> {
    /// The parameters.
    pub shape: S,
    /// The kernel.
    pub kernel: Kernel,
}
