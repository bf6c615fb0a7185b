//! The GPU through wgpu: choice of a device, compilation of a recording, replay.

mod context;
mod encode;
mod plan;
mod profile;
mod shader;
mod texture;
mod weight_buffers;

pub use context::{AdapterKind, AdapterSummary, Gpu, Progress, ShaderChecks, adapters, required_features, required_limits};
pub use encode::{Budget, GpuOutput, Job, Readback, Source};
pub use plan::{Pending, Plan};
pub use shader::specialise;
pub use texture::{Encoding, Sampler, TexturePicture};
pub use weight_buffers::WeightBuffers;
