//! Weights in device memory.

use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::tensor::Tensor;
use crate::execution::cpu;
use crate::execution::device::Device;
use crate::execution::gpu::{Gpu, WeightBuffers};
use crate::execution::threads;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Resident {
    Cpu(Arc<cpu::Weights>),
    Gpu(Arc<Gpu>, WeightBuffers),
}

impl Resident {
    /// Loads tensors to a device. `factor` returns the precision of the tensors that are the right-hand side of products; `keeps_f16` is that of
    /// [`cpu::Weights::load`].
    pub async fn load(
        device: &Device,
        tensors: impl Iterator<Item = Result<(String, Tensor)>>,
        factor: impl Fn(&str) -> Option<Precision> + Sync,
        keeps_f16: bool,
    ) -> Result<Resident> {
        threads::start()?;
        Ok(match device.gpu() {
            Some(gpu) => Resident::Gpu(gpu.clone(), WeightBuffers::upload(gpu, tensors, factor).await?),
            None => Resident::Cpu(Arc::new(cpu::Weights::load(tensors, factor, keeps_f16)?)),
        })
    }

    /// Concatenates these weights with others on the same device.
    pub fn joined(&self, others: &Resident) -> Resident {
        match (self, others) {
            (Resident::Cpu(weights), Resident::Cpu(others)) => Resident::Cpu(Arc::new(weights.joined(others))),
            (Resident::Gpu(gpu, weights), Resident::Gpu(_, others)) => Resident::Gpu(gpu.clone(), weights.joined(others)),
            _ => unreachable!("a model has one device"),
        }
    }
}
