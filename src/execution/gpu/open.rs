//! A device, opened.

use super::context::{AdapterSummary, Gpu, PipelineFolder, ShaderChecks};
use crate::data::error::Result;

impl Gpu {
    /// Opens an adapter with all that it can do, of which no more is used than the summary says.
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
