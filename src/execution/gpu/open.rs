//! Opens a device.

use super::context::{AdapterSummary, Gpu, PipelineFolder, ShaderChecks};
use crate::data::error::Result;

impl Gpu {
    /// Opens an adapter with all its features and limits. No capability beyond the summary's is used.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the driver refuses.
    pub async fn open(summary: AdapterSummary, adapter: &wgpu::Adapter, checks: ShaderChecks, pipelines: &PipelineFolder) -> Result<Gpu> {
        let gpu = Gpu::open_unprobed(summary, adapter, checks, pipelines).await?;
        #[cfg(not(target_arch = "wasm32"))]
        let gpu = gpu.with_probed_subgroups().await;
        Ok(gpu)
    }
}
