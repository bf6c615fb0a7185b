#![doc = include_str!("../docs/embedding.md")]

pub use crate::execution::gpu::{
    Budget, Encoding, GpuOutput, PaintTarget, Readback, TextureImage, cooperative_features, required_features, required_limits,
};
pub use crate::execution::image::painting::{Painted, Painting, Scale};
pub use crate::model::{GpuInput, GpuJob, GpuOutputs};
