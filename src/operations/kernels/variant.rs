//! What can be computed in several variants.

use crate::data::record::Kernel;

/// A variant: the value that describes it, and the kernel that was made of that.
#[derive(Debug)]
pub struct Variant<S> {
    /// The value.
    pub shape: S,
    /// The kernel.
    pub kernel: Kernel,
}
