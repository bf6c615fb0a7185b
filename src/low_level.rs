//! The inside: recordings, kernels, executors, checkpoints as they are read, and the doctor's checks. **Unstable**: it may change with any version. The program
//! `vitraux`, the tests and the benches stand on it, and so may whoever writes kernels.

pub use crate::data::{capabilities, panels, record};
pub use crate::execution::image::{Sampling, Taps};
pub use crate::execution::{checkpoint, cpu, gpu};
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub use crate::model::doctor;
pub use crate::model::forward;
#[cfg(feature = "doctor")]
pub use crate::operations::cases;
pub use crate::operations::{kernels, tuning};
