//! A checkpoint's tensors in the device's memory.

use super::context::Gpu;
use crate::capabilities::Precision;
use crate::error::Result;
use crate::panels::Packed;
use crate::tensor::Tensor;

/// Bytes that may wait in staging buffers before the copies are waited for: what loading needs
/// beyond the weights themselves.
const STAGED_BYTES: u64 = 8 * 1024 * 1024;

/// A buffer for each weight, by the number in [`Role::Weight`](crate::record::Role::Weight). Plans share them.
#[derive(Clone, Debug)]
pub struct WeightBuffers {
    pub(super) buffers: Vec<wgpu::Buffer>,
}

impl WeightBuffers {
    /// Copies named tensors to the device, those that are the right factor of products, as `factor` says by their names,
    /// in panels of that precision; the pages of a mapped file are let go as soon as they were read.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite, [`Error::Device`](crate::Error::Device) if memory runs out.
    pub async fn upload(
        gpu: &Gpu,
        weights: impl Iterator<Item = (String, Tensor)>,
        factor: impl Fn(&str) -> Option<Precision>,
    ) -> Result<WeightBuffers> {
        let mut buffers = Vec::new();
        let mut staged = 0;
        for (name, tensor) in weights {
            let values = tensor.finite_values(&name)?;
            let packed;
            let bytes = match (tensor.shape(), factor(&name)) {
                (&[n, k], Some(precision)) => {
                    packed = Packed::new(&values, [n, k], precision);
                    packed.bytes()
                }
                _ => bytemuck::cast_slice(&values),
            };
            let buffer = gpu
                .checked(&name, || {
                    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                        label: Some(&name),
                        size: bytes.len() as u64,
                        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                        mapped_at_creation: true,
                    });
                    // If memory ran out there is no range; the scope reports why.
                    if let Ok(mut range) = buffer.slice(..).get_mapped_range_mut() {
                        range.copy_from_slice(bytes);
                    }
                    buffer.unmap();
                    buffer
                })
                .await?;
            drop(values);
            tensor.release();
            staged += buffer.size();
            buffers.push(buffer);
            if staged >= STAGED_BYTES {
                gpu.queue.submit([]);
                gpu.wait()?;
                staged = 0;
            }
        }
        gpu.queue.submit([]);
        gpu.wait()?;
        Ok(WeightBuffers { buffers })
    }

    /// These, and then those; the memory is shared.
    pub fn joined(&self, others: &WeightBuffers) -> WeightBuffers {
        WeightBuffers { buffers: self.buffers.iter().chain(&others.buffers).cloned().collect() }
    }
}
