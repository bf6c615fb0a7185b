//! How long each dispatch of a plan takes on the device.

use super::plan::{Plan, Step, failed};
use crate::error::{Error, Result};
use crate::record::Timing;

impl Plan {
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
        self.measured(timings.iter().map(|timing| timing.seconds).collect());
        Ok(timings)
    }
}
