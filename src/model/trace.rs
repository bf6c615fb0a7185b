//! Traced forward passes, which keep every tensor for comparison with another device.

use super::resident::Resident;
use super::session::owned;
use super::{Model, Session};
use crate::data::error::{Error, Result};
use crate::data::record::{Kernel, Recording};
use crate::data::tensor::Tensor;
use crate::execution::cpu;
use crate::execution::gpu;
use crate::model::forward::Request;
use std::sync::Arc;

/// A forward pass and the output of every kernel call.
pub struct Traced {
    /// The recording of the pass.
    pub recording: Recording,
    /// Full contents of the buffer written by each dispatch.
    pub got: Vec<Vec<f32>>,
    /// Values of all inputs.
    pub inputs: Vec<Vec<f32>>,
    /// CPU weights for the twins.
    pub weights: Arc<cpu::Weights>,
}

impl Session {
    /// Runs a forward pass with kernels exchanged. Also returns what is needed to repeat it with twins; `twin` is the same model on the CPU.
    ///
    /// # Errors
    /// Same as [`Session::forward`]; also [`Error::Argument`] if the device is not a GPU.
    pub(crate) fn trace_beside(
        &self,
        twin: &Model,
        input: &Tensor,
        outputs: &[&str],
        exchange: impl Fn(&'static Kernel) -> &'static Kernel,
    ) -> Result<Traced> {
        let size = self.model().config().input_size(input.shape())?;
        let request = Request { batch: input.shape()[0], size, masked: false, levels: false, wanted: owned(outputs) };
        let at = pollster::block_on(self.model().at_size(size))?;
        let recording = self.model().record_tuned(&at, &request)?.exchanging(exchange);
        let of_twin = pollster::block_on(twin.at_size(size))?;
        let (Resident::Gpu(gpu, resident), Resident::Cpu(weights)) = (&at.resident, &of_twin.resident) else {
            return Err(Error::argument("device", format!("expected a GPU to compare with the CPU, found {}", self.model().device())));
        };
        // Further inputs, such as the ends of texts, are zeros.
        let mut inputs: Vec<Vec<f32>> = recording.inputs().map(|buffer| vec![0.0; buffer.len()]).collect();
        inputs[0] = input.finite_values("input")?.into_owned();
        let values: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let compiled = async { gpu::Plan::compile(gpu.clone(), &recording.traced(), resident, &|_, _| ()).await?.run(&values).await };
        let got = pollster::block_on(compiled)?;
        Ok(Traced { recording, got, inputs, weights: weights.clone() })
    }
}
