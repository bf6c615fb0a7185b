//! Time of each dispatch of a plan on the device.

use super::context::failed;
use super::plan::{Plan, Step};
use super::step_times::StepTimes;
use super::timestamps::Timestamps;
use crate::data::error::{Error, Result};
use crate::data::record::Timing;
use std::sync::Mutex;
use std::time::Instant;

/// Minimum time of a dispatch, in seconds; a clock with long ticks may report 0.
const SHORTEST: f64 = 1e-7;

/// Minimum warm-up before timing, in seconds. An H200 takes 0.2 s to go from its lowest clocks to its highest, and has the highest when a program
/// starts (`benches/results`).
const LEAST_WARMING: f64 = 0.02;
const MOST_WARMING: f64 = 0.3;

/// Time of the last measurement on a GPU.
#[derive(Debug, Default)]
struct LastTimed(Mutex<Option<Instant>>);

impl Plan {
    /// Runs the plan repeatedly on its current inputs, for as long as the GPU has been idle since the last measurement, within a minimum and a
    /// maximum. A GPU that is idle half of the time gradually lowers its clocks, and takes as long to raise them again.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn warm(&self) -> Result<()> {
        let gpu = self.gpu();
        let seconds = gpu.parts.get(LastTimed::default).0.lock().expect("no panic while it is held").map_or(0.0, |last| last.elapsed().as_secs_f64());
        let seconds = seconds.clamp(LEAST_WARMING, MOST_WARMING);
        let start = Instant::now();
        // The GPU is idle between submissions, so that short plans need many runs in each.
        let mut runs = 1;
        while start.elapsed().as_secs_f64() < seconds {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.warm") });
            for _ in 0..runs {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.steps().iter().filter_map(Step::dispatch).for_each(|dispatch| dispatch.encode(&mut pass));
            }
            gpu.queue.submit([encoder.finish()]);
            gpu.wait()?;
            runs = (2 * runs).min(64);
        }
        Ok(())
    }

    /// Runs the plan on the inputs of the last run, each dispatch in its own pass between two timestamp queries, and returns the times in order.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamp queries, or fails.
    pub fn profile(&self) -> Result<Vec<Timing>> {
        let gpu = self.gpu();
        if !gpu.takes_times() {
            return Err(Error::device(gpu.summary(), "no timestamp queries, which are needed to time kernels"));
        }
        let dispatches: Vec<_> = self.steps().iter().filter_map(Step::dispatch).collect();
        // Skipping the steps that copy outputs is safe: they change nothing that a dispatch reads.
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
        *self.times.lock().expect("no panic while it is held") = StepTimes::new(self.steps().iter().map(seconds).collect());
        *gpu.parts.get(LastTimed::default).0.lock().expect("no panic while it is held") = Some(Instant::now());
        Ok(timings)
    }
}
