//! A plan inside a host's command buffer: nothing is submitted, and outputs stay on the device.

use super::context::Gpu;
use super::plan::{Plan, create, failed, map};
use super::texture::{Sampler, TexturePicture};
use crate::config::Preprocess;
use crate::error::Result;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where an input comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The host's memory; it is copied when it is given.
    Values(&'a [f32]),
    /// A buffer of the same device with usage `COPY_SRC`, read when the commands run.
    Buffer(&'a wgpu::Buffer),
    /// Pictures in textures, each with what samples those of its size.
    Pictures(&'a Preprocess, &'a [(TexturePicture<'a>, &'a Sampler)]),
}

/// An output on the device, f32 in row-major order. It holds the result once the commands have run, and until those of the next
/// encoding of the same shape and outputs run.
#[derive(Clone, Debug)]
pub struct GpuOutput {
    gpu: Arc<Gpu>,
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
}

impl GpuOutput {
    /// The buffer, with usages `STORAGE` and `COPY_SRC`.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Sizes of its axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Records a copy to where the host can read it.
    pub fn encode_read(&self, encoder: &mut wgpu::CommandEncoder) -> Readback {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = create(&self.gpu, "readback", self.buffer.size(), usage, false);
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &copy, 0, copy.size());
        Readback { gpu: self.gpu.clone(), copy, shape: self.shape.clone() }
    }
}

/// A copy of an output that the host will be able to read.
#[derive(Debug)]
pub struct Readback {
    gpu: Arc<Gpu>,
    copy: wgpu::Buffer,
    shape: Vec<usize>,
}

impl Readback {
    /// The values. To be called when the commands have been submitted; it is ready once the host has polled its device until they are done.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails or is lost.
    pub async fn values(self) -> Result<Tensor> {
        map(&self.copy, wgpu::MapMode::Read).await.map_err(|error| failed(&self.gpu, error))?.map_err(|error| failed(&self.gpu, error))?;
        let range = self.copy.slice(..).get_mapped_range().map_err(|error| failed(&self.gpu, error))?;
        Tensor::new(self.shape, bytemuck::pod_collect_to_vec(&range))
    }
}

impl Plan {
    /// Records the plan into a host's encoder; gives the outputs in the recording's order, in buffers that the plan keeps.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if memory runs out, or the device objects to a view.
    ///
    /// # Panics
    /// If an input has another size than the recording says.
    pub async fn encode_into(&self, encoder: &mut wgpu::CommandEncoder, inputs: &[Source<'_>], shapes: &[Vec<usize>]) -> Result<Vec<GpuOutput>> {
        for (input, source) in self.inputs().iter().zip(inputs) {
            match source {
                Source::Pictures(preprocess, pictures) => {
                    for (image, (picture, sampler)) in pictures.iter().enumerate() {
                        sampler.encode(self.gpu(), encoder, preprocess, picture, image, input).await?;
                    }
                }
                Source::Buffer(buffer) => {
                    assert!(buffer.size() >= input.size(), "an input of {} bytes, a buffer of {}", input.size(), buffer.size());
                    encoder.copy_buffer_to_buffer(buffer, 0, input, 0, input.size());
                }
                Source::Values(values) => {
                    // Of its own, because commands that were recorded before may not have run yet.
                    let upload = create(self.gpu(), "upload", input.size(), wgpu::BufferUsages::COPY_SRC, true);
                    upload.slice(..).get_mapped_range_mut().map_err(|error| failed(self.gpu(), error))?.copy_from_slice(bytemuck::cast_slice(values));
                    upload.unmap();
                    encoder.copy_buffer_to_buffer(&upload, 0, input, 0, input.size());
                }
            }
        }
        let kept = self.kept();
        self.encode(encoder, kept);
        let output =
            |(buffer, shape): (&wgpu::Buffer, &Vec<usize>)| GpuOutput { gpu: self.gpu_handle(), buffer: buffer.clone(), shape: shape.clone() };
        Ok(kept.iter().zip(shapes).map(output).collect())
    }
}
