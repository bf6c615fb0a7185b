//! A checkpoint's tensors in device memory.

use super::context::{Gpu, create};
use crate::data::capabilities::Precision;
use crate::data::error::{Error, Limit, Result};
use crate::data::panels::{self, PANEL, Packed};
use crate::data::tensor::Tensor;

/// Bytes in staging buffers before waiting for the copies: the memory that loading needs beyond the weights themselves.
const STAGED_BYTES: usize = 8 * 1024 * 1024;

/// One buffer per weight, indexed by the number in [`Role::Weight`](crate::data::record::Role::Weight). Plans share them.
#[derive(Clone, Debug)]
pub struct WeightBuffers {
    pub(super) buffers: Vec<wgpu::Buffer>,
}

impl WeightBuffers {
    /// Copies named tensors to the device, piece by piece. Those for which `factor` returns a precision are the rhs of products and are packed into
    /// panels of that precision. Pages of a mapped file are released as soon as they are read.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a value is not finite, [`Error::Limit`] if a weight exceeds the device's buffers, [`Error::OutOfMemory`] if memory runs out,
    /// [`Error::Device`] if the device fails.
    pub async fn upload(
        gpu: &Gpu,
        weights: impl Iterator<Item = Result<(String, Tensor)>>,
        factor: impl Fn(&str) -> Option<Precision>,
    ) -> Result<WeightBuffers> {
        let mut buffers = Vec::new();
        let mut stage = Stage { gpu, bytes: 0 };
        for weight in weights {
            let (name, tensor) = weight?;
            let values = tensor.finite_values(&name)?;
            let buffer_of = async |bytes: usize| {
                let (needed, allowed) = (bytes as u64, gpu.summary.capabilities.buffer_bytes);
                if needed > allowed {
                    return Err(Error::Limit { what: name.clone(), limit: Limit::Buffer, needed, allowed });
                }
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                gpu.checked(&name, || create(gpu, &name, needed, usage, false)).await
            };
            let buffer = match (tensor.shape(), factor(&name)) {
                (&[n, k], Some(precision)) => {
                    panels::warn_if_clamped(&name, &values, precision);
                    let bytes = panels::shape([n, k], precision).iter().product::<usize>() * precision.bits() as usize / 8;
                    let buffer = buffer_of(bytes).await?;
                    let columns = (STAGED_BYTES / (4 * k * PANEL)).max(1) * PANEL;
                    let pack = |piece: &[f32]| Packed::new(piece, [piece.len() / k, k], precision);
                    stage.fill(&buffer, values.chunks(columns * k).map(pack), Packed::bytes).await?;
                    buffer
                }
                _ => {
                    let buffer = buffer_of(values.len() * 4).await?;
                    stage.fill(&buffer, values.chunks(STAGED_BYTES / 4), |piece| bytemuck::cast_slice(piece)).await?;
                    buffer
                }
            };
            buffers.push(buffer);
            drop(values);
            tensor.release();
        }
        stage.flush().await?;
        Ok(WeightBuffers { buffers })
    }

    /// Returns these buffers followed by `others`; the memory is shared.
    pub fn joined(&self, others: &WeightBuffers) -> WeightBuffers {
        WeightBuffers { buffers: self.buffers.iter().chain(&others.buffers).cloned().collect() }
    }
}

/// Bytes on their way to the device.
struct Stage<'a> {
    gpu: &'a Gpu,
    bytes: usize,
}

impl Stage<'_> {
    /// Copies consecutive pieces into a buffer.
    async fn fill<P>(&mut self, buffer: &wgpu::Buffer, pieces: impl Iterator<Item = P>, bytes: impl Fn(&P) -> &[u8]) -> Result<()> {
        let mut offset = 0;
        for piece in pieces {
            let bytes = bytes(&piece);
            // A lost device rejects it.
            self.gpu.checked("weights", || self.gpu.queue.write_buffer(buffer, offset, bytes)).await?;
            offset += bytes.len() as u64;
            self.bytes += bytes.len();
            if self.bytes >= STAGED_BYTES {
                self.flush().await?;
            }
        }
        assert_eq!(offset, buffer.size(), "the pieces are the whole");
        Ok(())
    }

    /// Waits until all copies are done. On a borrowed device they go with the host's next submission.
    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.gpu.is_borrowed() {
            return Ok(());
        }
        self.gpu.queue.submit([]);
        self.gpu.finished().await
    }
}
