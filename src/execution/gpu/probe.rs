//! Subgroup size on drivers that choose it per pipeline (AMD 32 or 64, Intel 8 to 32), measured by running a pipeline.

use super::context::Gpu;
use super::shader::assemble;
use crate::data::capabilities::Capabilities;
use crate::data::error::{Error, Result};
use crate::data::record::Spec;

/// `INVOCATIONS` of the shader.
const INVOCATIONS: usize = 128;

/// Returns the subgroup size of a pipeline that multiplies cooperative matrices of `side` rows and columns, or `None` if invocations are not numbered
/// in order or the product is wrong.
///
/// # Errors
/// [`Error::Device`] if the device rejects the shader.
pub(super) async fn subgroup(gpu: &Gpu, side: u32) -> Result<Option<u32>> {
    let spec = if side == 8 { Spec::NONE.with_piece("common/coop_16", "common/coop_8") } else { Spec::NONE };
    let source = assemble(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/probe.wgsl")), &[], &spec)?;
    let buffer = |label, usage| wgpu::BufferDescriptor { label: Some(label), size: (INVOCATIONS * 16) as u64, usage, mapped_at_creation: false };
    let staging = gpu.device.create_buffer(&buffer("probe", wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ));
    gpu.checked("probing subgroups", || {
        let found = gpu.device.create_buffer(&buffer("found", wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC));
        let module =
            gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("probe"), source: wgpu::ShaderSource::Wgsl(source.into()) });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("probe"),
            layout: None,
            module: &module,
            entry_point: Some("probe"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("probe"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: found.as_entire_binding() }],
        });
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("probe") });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&found, 0, &staging, 0, staging.size());
        gpu.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| ());
    })
    .await?;
    gpu.wait()?;
    let bytes =
        staging.slice(..).get_mapped_range().map_err(|error| Error::device(gpu.summary(), format!("the probe's result cannot be read: {error}")))?;
    Ok(lanes(bytemuck::cast_slice(&bytes), side))
}

/// Returns the subgroup size, given what each invocation wrote.
fn lanes(found: &[[u32; 4]], side: u32) -> Option<u32> {
    let lanes = found.first()?[0].max(1);
    let expected = (0..).map(|i| [lanes, i / lanes, i % lanes, side]);
    found.iter().zip(expected).all(|(found, expected)| *found == expected).then_some(lanes)
}

impl Gpu {
    /// Measures the subgroup size of cooperative-matrix pipelines if it is variable. If that fails, cooperative matrices are not used.
    pub(super) async fn with_probed_subgroups(mut self) -> Gpu {
        let Capabilities { cooperative, subgroup, .. } = self.summary.capabilities;
        if cooperative > 0 && subgroup == 0 {
            match self::subgroup(&self, cooperative).await {
                Ok(Some(found)) => self.summary.capabilities.subgroup = found,
                Ok(None) => {
                    log::info!("{}: cooperative matrices are not used, because subgroups have an unexpected layout", self.summary);
                    self.summary.capabilities.cooperative = 0;
                }
                Err(error) => {
                    log::warn!("{error}; cooperative matrices are not used");
                    self.summary.capabilities.cooperative = 0;
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subgroup_probe_rejects_unexpected_lane_layouts() {
        let found = |lanes: u32| (0..64).map(|i| [lanes, i / lanes, i % lanes, 16]).collect::<Vec<_>>();
        assert_eq!(lanes(&found(32), 16), Some(32));
        assert_eq!(lanes(&found(16), 16), Some(16));
        assert_eq!(lanes(&found(16), 8), None);
        let mut other = found(16);
        other.swap(1, 2);
        assert_eq!(lanes(&other, 16), None);
        assert_eq!(lanes(&[[0; 4]], 16), None);
    }
}
