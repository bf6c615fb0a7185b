//! Device checks: each kernel against the brute-force reference, and whole models against the CPU, tensor by tensor.

mod judge;
mod kernels;
mod model;
mod report;
mod rivals;
mod textures;

pub use judge::Step;
pub use kernels::check_kernels;
pub use model::{ModelReport, TensorReport, check_model};
pub use report::{KernelReport, Outcome};
pub use rivals::{Rival, check_cooperative};

use crate::data::record::Kernel;

/// Maps each kernel to its replacement during the checks. The identity, unless shaders are being edited.
pub type Exchange<'a> = &'a dyn Fn(&'static Kernel) -> &'static Kernel;
