//! How long each dispatch of a plan takes on the device.

use super::plan::{CompiledDispatch, Plan, Step, failed};
use crate::error::{Error, Result};
use crate::record::Timing;

/// Floating-point operations and bytes a second of a GPU that a processor imitates, when it is slow.
const SLOW_SOFTWARE: [f64; 2] = [5e9, 1e9];

/// The same of a small hardware GPU.
const SLOW_HARDWARE: [f64; 2] = [200e9, 20e9];

/// Seconds that the shortest dispatch takes.
const OVERHEAD: f64 = 10e-6;

impl Plan {
    /// How long each step takes: a dispatch as measured, or what its arithmetic and its memory take on a slow device of its kind; copies nothing.
    pub(super) fn seconds(&self) -> Vec<f64> {
        let mut measured = self.measured().clone().map(Vec::into_iter);
        let seconds = |step: &Step| {
            let Some(CompiledDispatch { dispatch, .. }) = step.dispatch() else { return 0.0 };
            let own = measured.as_mut().and_then(Iterator::next);
            own.unwrap_or_else(|| self.estimate(dispatch.flops, dispatch.bytes()))
        };
        self.steps().iter().map(seconds).collect()
    }

    /// How long so many operations and bytes take on a slow device of its kind.
    pub(super) fn estimate(&self, operations: u64, bytes: u64) -> f64 {
        let [flops, bandwidth] = if self.gpu().summary().capabilities.software { SLOW_SOFTWARE } else { SLOW_HARDWARE };
        OVERHEAD + (operations as f64 / flops).max(bytes as f64 / bandwidth)
    }

    /// Runs the plan on what its inputs hold from the last run, each dispatch in a pass of its own between two timestamps of the
    /// device, and gives their times in order.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot take timestamps, or fails.
    pub fn profile(&self) -> Result<Vec<Timing>> {
        let gpu = self.gpu();
        if !gpu.takes_times() {
            return Err(Error::Device(format!("{}: no timestamp queries, which the times of kernels come from", gpu.summary())));
        }
        let dispatches: Vec<_> = self.steps().iter().filter_map(Step::dispatch).collect();
        // Steps that only copy, for outputs, change nothing that a dispatch reads.
        let mut timings = Vec::new();
        for group in dispatches.chunks(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
            let count = 2 * group.len() as u32;
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count });
            let buffer = |usage| {
                let size = u64::from(count) * 8;
                gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some("timestamps"), size, usage, mapped_at_creation: false })
            };
            let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let readable = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.profile") });
            for (i, compiled) in (0..).zip(group) {
                let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                });
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(&compiled.dispatch.label), timestamp_writes });
                compiled.encode(&mut pass);
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &readable, 0, resolved.size());
            gpu.queue.submit([encoder.finish()]);
            let (sender, receiver) = std::sync::mpsc::channel();
            readable.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result).expect("it is awaited below"));
            gpu.wait()?;
            receiver.recv().expect("the device is idle").map_err(|error| failed(gpu, error))?;
            let range = readable.slice(..).get_mapped_range().map_err(|error| failed(gpu, error))?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range);
            let second = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
            let seconds = ticks.chunks(2).map(|ticks| ticks[1].saturating_sub(ticks[0]) as f64 * second);
            timings.extend(group.iter().zip(seconds).map(|(compiled, seconds)| Timing::new(&compiled.dispatch, seconds)));
        }
        *self.measured() = Some(timings.iter().map(|timing| timing.seconds).collect());
        Ok(timings)
    }
}
