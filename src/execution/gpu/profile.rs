//! How long each dispatch of a plan takes on the device.

use super::context::failed;
use super::plan::{Plan, Step};
use super::times::Times;
use super::timestamps::Timestamps;
use crate::data::error::{Error, Result};
use crate::data::record::Timing;
use std::sync::Mutex;
use std::time::Instant;

/// Seconds that a dispatch takes at the least; a clock with long ticks may say 0.
const SHORTEST: f64 = 1e-7;

/// Seconds that a GPU works in front of what is timed: an H200 needs 0.2 from its lowest clocks to its highest, and has the highest when a program
/// starts (`benches/results`).
const LEAST_WARMING: f64 = 0.02;
const MOST_WARMING: f64 = 0.3;

/// Runs of a submission that raises clocks: between submissions a GPU is idle.
const WARMING_RUNS: usize = 4;

/// When something was timed on a GPU for the last time.
#[derive(Debug, Default)]
struct LastTimed(Mutex<Option<Instant>>);

impl Plan {
    /// Runs the plan on what its inputs hold again and again, for as long as the GPU was idle since something was timed, but some time at least and at
    /// the most: a GPU that is idle half of the time lowers its clocks, by and by, and takes as long to raise them.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn warm(&self) -> Result<()> {
        let gpu = self.gpu();
        let seconds = gpu.parts.get(LastTimed::default).0.lock().expect("no panic while it is held").map_or(0.0, |last| last.elapsed().as_secs_f64());
        let seconds = seconds.clamp(LEAST_WARMING, MOST_WARMING);
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.warm") });
            for _ in 0..WARMING_RUNS {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.steps().iter().filter_map(Step::dispatch).for_each(|dispatch| dispatch.encode(&mut pass));
            }
            gpu.queue.submit([encoder.finish()]);
            gpu.wait()?;
        }
        Ok(())
    }

    /// Runs the plan on what its inputs hold from the last run, each dispatch in a pass of its own between two timestamps of the
    /// device, and gives their times in order.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot take timestamps, or fails.
    pub fn profile(&self) -> Result<Vec<Timing>> {
        let gpu = self.gpu();
        if !gpu.takes_times() {
            return Err(Error::device(gpu.summary(), "no timestamp queries, which kernels are timed by"));
        }
        let dispatches: Vec<_> = self.steps().iter().filter_map(Step::dispatch).collect();
        // Steps that only copy, for outputs, change nothing that a dispatch reads.
        let mut timings = Vec::new();
        for group in dispatches.chunks(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
            let timestamps = Timestamps::new(gpu, 2 * group.len() as u32);
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.profile") });
            for (i, compiled) in (0..).zip(group) {
                let timestamp_writes = timestamps.of_pass(Some(2 * i), Some(2 * i + 1));
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(&compiled.dispatch.label), timestamp_writes });
                compiled.encode(&mut pass);
            }
            timestamps.encode_read(&mut encoder);
            let (sender, receiver) = std::sync::mpsc::channel();
            encoder.map_buffer_on_submit(timestamps.readable(), wgpu::MapMode::Read, .., move |result| {
                sender.send(result).expect("it is awaited below");
            });
            gpu.queue.submit([encoder.finish()]);
            gpu.wait()?;
            receiver.recv().expect("the device is idle").map_err(|error| failed(gpu, error))?;
            let seconds = timestamps.seconds(gpu.queue.get_timestamp_period()).map_err(|error| failed(gpu, error))?;
            timings.extend(group.iter().zip(seconds).map(|(compiled, seconds)| Timing::new(&compiled.dispatch, seconds)));
        }
        let mut measured = timings.iter().map(|timing| timing.seconds);
        let seconds =
            |step: &Step| step.dispatch().and_then(|_| measured.next()).map_or_else(|| step.estimated(gpu), |seconds| seconds.max(SHORTEST));
        *self.times.lock().expect("no panic while it is held") = Times::new(self.steps().iter().map(seconds).collect());
        *gpu.parts.get(LastTimed::default).0.lock().expect("no panic while it is held") = Some(Instant::now());
        Ok(timings)
    }
}
