//! A forward pass of which every tensor is kept, for those who compare it with another device's.

use super::{Engine, Resident};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu;
use crate::model::Request;
use crate::record::{Kernel, Recording};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A forward pass, and what every kernel call wrote.
pub struct Traced {
    /// The pass.
    pub recording: Recording,
    /// Of each dispatch the whole buffer that it writes.
    pub got: Vec<Vec<f32>>,
    /// The weights for its twins.
    pub weights: Arc<cpu::Weights>,
}

impl Engine {
    /// Runs a forward pass with kernels exchanged, and brings what it takes to repeat it with twins, for which `twin` is the same model on the CPU.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Argument`] if this is no GPU.
    pub(crate) fn trace_beside(
        &mut self,
        twin: &mut Engine,
        input: &Tensor,
        wanted: &[&str],
        exchange: impl Fn(&'static Kernel) -> &'static Kernel,
    ) -> Result<Traced> {
        let size = self.size(input.shape())?;
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { batch: input.shape()[0], size, masked: false, levels: false, wanted };
        let place = pollster::block_on(self.tables_for(size))?;
        let recording = loop {
            let recording = self.record(place, &request)?;
            if !self.options.tuning.grow(&self.device, recording.asked()) {
                break recording.exchanging(exchange);
            }
        };
        let twin_place = pollster::block_on(twin.tables_for(size))?;
        let (Resident::Gpu(gpu, resident), Resident::Cpu(weights)) = (&self.tables[place].2, &twin.tables[twin_place].2) else {
            return Err(Error::Argument(format!("expected a GPU to compare with the CPU, found {}", self.device)));
        };
        let values = input.finite_values("input")?;
        let got = pollster::block_on(async { gpu::Plan::compile(gpu.clone(), &recording.traced(), resident).await?.run(&[&values]).await })?;
        Ok(Traced { recording, got, weights: weights.clone() })
    }
}
