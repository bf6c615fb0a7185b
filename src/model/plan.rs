//! Compiled forward passes, and how they run on a batch.

use super::Memory;
use super::resident::Resident;
use crate::data::config::Size;
use crate::data::error::Result;
use crate::data::levels::LevelTable;
use crate::data::record::{Output, Recording};
use crate::data::tensor::Tensor;
use crate::execution::device::Device;
use crate::execution::gpu::{Pieces, Progress};
use crate::execution::{cpu, gpu};
use crate::model::forward::Request;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A forward pass compiled for a request.
#[derive(Debug)]
pub(super) struct RequestPlan {
    pub request: Request,
    pub memory: Memory,
    pub outputs: Vec<Output>,
    pub executor: Executor,
}

/// Device-specific part of a plan.
#[derive(Debug)]
pub(super) enum Executor {
    Cpu(Box<cpu::Plan>),
    /// Jobs in progress share the plan they run.
    Gpu(Arc<gpu::Plan>),
}

impl RequestPlan {
    pub async fn compile(request: Request, recording: Recording, resident: &Resident, progress: Progress<'_>) -> Result<RequestPlan> {
        let outputs = recording.outputs().to_vec();
        log::debug!("plan of {} images: {}", request.batch, summary(&recording));
        let memory = Memory { images: request.batch, weights: recording.weight_bytes(), pass: recording.scratch_bytes() };
        let executor = match resident {
            Resident::Gpu(gpu, weights) => Executor::Gpu(Arc::new(gpu::Plan::compile(gpu.clone(), &recording, weights, progress).await?)),
            Resident::Cpu(weights) => Executor::Cpu(Box::new(cpu::Plan::new(recording, weights.clone()))),
        };
        Ok(RequestPlan { request, memory, outputs, executor })
    }
}

/// Lists the kernels of a recording with the number of their calls.
fn summary(recording: &Recording) -> String {
    let mut calls = BTreeMap::new();
    recording.dispatches().for_each(|dispatch| *calls.entry(dispatch.kernel.name).or_insert(0) += 1);
    calls.iter().map(|(kernel, calls)| format!("{calls} {kernel}")).collect::<Vec<_>>().join(", ")
}

/// Input contents of a batch.
pub(super) enum Contents<'a> {
    /// Values of all images, per input.
    Values(Vec<Cow<'a, [f32]>>),
    /// 8-bit levels per image, and the table of their values. A quarter of the bytes of f32; expanded on the GPU.
    Levels(Vec<&'a [u8]>, &'a LevelTable),
}

impl<'a> Contents<'a> {
    pub fn of(inputs: &[&'a Tensor], size: Size, device: &Device) -> Result<Contents<'a>> {
        let name = if matches!(size, Size::Image(_)) { "pixel_values" } else { "input" };
        match (device.gpu(), inputs[0].levels()) {
            (Some(_), Some((levels, table))) if table.is_finite() => Ok(Contents::Levels(levels, table)),
            _ => Ok(Contents::Values(inputs.iter().map(|input| input.finite_values(name)).collect::<Result<_>>()?)),
        }
    }

    pub fn are_levels(&self) -> bool {
        matches!(self, Contents::Levels(..))
    }
}

/// A pass in progress.
pub(super) enum Pass {
    /// Already computed by the CPU.
    Done(Vec<Vec<f32>>),
    Gpu(gpu::Pending),
}

impl Executor {
    /// Returns whether no job is using the plan.
    pub fn is_free(&self) -> bool {
        match self {
            Executor::Cpu(_) => true,
            Executor::Gpu(plan) => Arc::strong_count(plan) == 1,
        }
    }

    /// Starts a pass over the given images of a batch.
    pub async fn begin(&mut self, contents: &Contents<'_>, images: Range<usize>, batch: usize) -> Result<Pass> {
        let part = |values: &Cow<'_, [f32]>| images.start * (values.len() / batch)..images.end * (values.len() / batch);
        Ok(match (self, contents) {
            (Executor::Cpu(plan), Contents::Values(inputs)) => {
                Pass::Done(plan.run(&inputs.iter().map(|values| &values[part(values)]).collect::<Vec<_>>()))
            }
            (Executor::Gpu(plan), Contents::Values(inputs)) => {
                let pieces: Vec<_> = inputs.iter().map(|values| Pieces::of(&values[part(values)])).collect();
                Pass::Gpu(plan.submit(&pieces).await?)
            }
            (Executor::Gpu(plan), Contents::Levels(levels, table)) => {
                let pieces = [Pieces::new(levels[images].to_vec()), Pieces::of(table.values())];
                Pass::Gpu(plan.submit(&pieces).await?)
            }
            (Executor::Cpu(_), Contents::Levels(..)) => unreachable!("on the CPU levels are widened first"),
        })
    }
}

impl Pass {
    pub async fn outputs(self) -> Result<Vec<Vec<f32>>> {
        match self {
            Pass::Done(outputs) => Ok(outputs),
            Pass::Gpu(pending) => pending.outputs().await,
        }
    }
}
