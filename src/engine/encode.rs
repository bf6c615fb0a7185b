//! Forward passes inside a host's command buffers.

use super::{Engine, Executor};
use crate::error::{Error, Result};
use crate::gpu::{GpuOutput, Source};
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a forward pass inside a host's command buffer reads.
#[derive(Clone, Copy, Debug)]
pub enum GpuInput<'a> {
    /// Values of the host, copied when they are given.
    Tensor(&'a Tensor),
    /// A buffer of the engine's device with usage `COPY_SRC`, f32 in row-major order, and the sizes of its axes. It is read when the
    /// commands run.
    Buffer(&'a wgpu::Buffer, &'a [usize]),
}

impl GpuInput<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            GpuInput::Tensor(tensor) => tensor.shape(),
            GpuInput::Buffer(_, shape) => shape,
        }
    }
}

/// Outputs on the device, by the names of [`output_names`](crate::model::output_names).
pub type GpuOutputs = BTreeMap<String, GpuOutput>;

impl Engine {
    /// Records [`Engine::forward`] into a host's encoder: nothing is submitted, polled or waited for, and the outputs stay on the device.
    /// The first call for a shape compiles, and makes buffers; later ones make none but for a tensor's upload. The outputs hold
    /// the results until the commands of the next call for the same shape and outputs run.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Limit`] also if the batch does not fit the device in one pass, [`Error::Argument`] if the engine runs on
    /// the CPU.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, input: GpuInput<'_>, wanted: &[&str]) -> Result<GpuOutputs> {
        let size = self.size(input.shape())?;
        let values: Cow<'_, [f32]>;
        let source = match input {
            GpuInput::Tensor(tensor) => {
                values = tensor.finite_values("input")?;
                Source::Values(&values)
            }
            GpuInput::Buffer(buffer, shape) => {
                let bytes = shape.iter().product::<usize>() as u64 * 4;
                if buffer.size() < bytes || !buffer.usage().contains(wgpu::BufferUsages::COPY_SRC) {
                    return Err(Error::Argument(format!(
                        "input: expected a buffer of {bytes} bytes for {shape:?} with usage COPY_SRC, found {} bytes and {:?}",
                        buffer.size(),
                        buffer.usage()
                    )));
                }
                Source::Buffer(buffer)
            }
        };
        let batch = input.shape()[0];
        // Natively nothing in it waits: errors of a device that is not lost are known at once.
        let plan = pollster::block_on(self.plan(batch, size, false, wanted))?;
        if plan.request.batch < batch {
            return Err(Error::Limit(format!(
                "input: {batch} images do not fit the device in one pass, {} do; encode so many at a time",
                plan.request.batch
            )));
        }
        let Executor::Gpu(executor) = &plan.executor else {
            return Err(Error::Argument("expected an engine on a GPU, found one on the CPU; load it with Device::Gpu".to_owned()));
        };
        let shapes: Vec<Vec<usize>> = plan.outputs.iter().map(|output| output.shape.clone()).collect();
        let outputs = executor.encode_into(encoder, &[source], &shapes)?;
        Ok(plan.outputs.iter().map(|output| output.name.clone()).zip(outputs).collect())
    }
}
