//! Whether a device computes rightly: each kernel beside brute force, and a whole model beside the CPU, tensor by tensor.

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

/// What stands in for each kernel while a device is examined; for itself, unless somebody edits shaders.
pub type Exchange<'a> = &'a dyn Fn(&'static Kernel) -> &'static Kernel;
