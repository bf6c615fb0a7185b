//! Internals: recordings, kernels, executors, raw checkpoints, and the doctor's checks. **Unstable**: may change with any
//! version. The `vitraux` program, the tests and the benches use it; kernel authors may too.

pub use crate::data::tensor::Dtype;
pub use crate::data::{capabilities, panels, record};
pub use crate::execution::image::{Sampling, Taps};
pub use crate::execution::storage::{kind, read};
#[cfg(feature = "text")]
pub use crate::execution::text;
pub use crate::execution::{checkpoint, cpu, gpu};
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub use crate::model::doctor;
pub use crate::model::{forward, images_per_pass};
#[cfg(feature = "doctor")]
pub use crate::operations::cases;
pub use crate::operations::{kernels, tuning};
