//! GPU backend on wgpu: opens devices, compiles recordings and replays them.

mod compile;
mod context;
mod encode;
mod estimate;
mod open;
mod paint;
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod pipeline_cache;
mod plan;
#[cfg(not(target_arch = "wasm32"))]
mod probe;
mod profile;
mod shader;
mod step_times;
mod texture;
mod timestamps;
mod upload;
mod weight_buffers;

#[cfg(not(target_arch = "wasm32"))]
pub use context::adapters_blocking;
pub use context::{
    AdapterKind, AdapterSummary, Gpu, PipelineFolder, Progress, ShaderChecks, adapters, cooperative_features, required_features, required_limits,
};
pub use encode::{Budget, GpuOutput, InputSource, Job, Readback};
pub use paint::PaintTarget;
pub use plan::{Pending, Plan};
pub use shader::{PIECES, specialise};
pub(crate) use texture::warm_up_textures;
pub use texture::{Encoding, Sampler, TextureImage};
pub use upload::Pieces;
pub use weight_buffers::WeightBuffers;
