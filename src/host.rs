#![doc = include_str!("../docs/embedding.md")]

#[cfg(not(target_arch = "wasm32"))]
pub use crate::execution::gpu::PaintTarget;
pub use crate::execution::gpu::{Budget, Encoding, GpuOutput, Readback, TextureImage, cooperative_features, required_features, required_limits};
pub use crate::execution::image::painting::{Painted, Painting, Scale};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::model::{GpuInput, GpuJob, GpuOutputs};
