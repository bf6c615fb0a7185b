//! A plan inside a host's command buffer: nothing is submitted, and outputs stay on the device.

use super::context::{Gpu, create, failed};
use super::estimate::estimate;
use super::plan::{Mapping, Plan};
use super::texture::{PreparedImage, Sampler, TextureImage};
use crate::data::config::Map;
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::image::Preprocess;
use futures_channel::oneshot;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Where an input comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The host's memory; it is copied when it is given.
    Values(&'a [f32]),
    /// A buffer of the same device with usage `COPY_SRC`, read when the commands run.
    Buffer(&'a wgpu::Buffer),
    /// Images in textures, each with what samples those of its size.
    Images(&'a Preprocess, &'a [(TextureImage<'a>, &'a Sampler)]),
}

/// An output on the device, f32 in row-major order. It holds the result once the commands have run, and until those of the next
/// encoding of the same shape and outputs run.
#[derive(Clone, Debug)]
pub struct GpuOutput {
    gpu: Arc<Gpu>,
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
    map: Option<Map>,
}

impl GpuOutput {
    /// The same as a map of an image.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_map(self, map: Option<Map>) -> GpuOutput {
        GpuOutput { map, ..self }
    }

    /// What it shows of an image, if it is a map.
    pub fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The buffer, with usages `STORAGE` and `COPY_SRC`.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Sizes of its axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Records a copy to where the host can read it. If memory for it runs out, the host's handler hears of it.
    pub fn encode_read(&self, encoder: &mut wgpu::CommandEncoder) -> Readback {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = create(&self.gpu, "readback", self.buffer.size(), usage, false);
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &copy, 0, copy.size());
        let (sender, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&copy, wgpu::MapMode::Read, .., move |result| {
            // Nobody listens if the readback was dropped.
            let _ = sender.send(result);
        });
        Readback { gpu: self.gpu.clone(), copy, mapped, shape: self.shape.clone() }
    }
}

/// A copy of an output that the host will be able to read.
#[derive(Debug)]
pub struct Readback {
    gpu: Arc<Gpu>,
    copy: wgpu::Buffer,
    mapped: Mapping,
    shape: Vec<usize>,
}

impl Readback {
    /// The values: ready once the host has submitted the commands, and polled its device until they are done.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or is lost, or the commands were dropped instead of being submitted.
    pub async fn values(self) -> Result<Tensor> {
        let mapped = self.mapped.await.map_err(|_| Error::device(self.gpu.summary(), "commands were dropped, not submitted"))?;
        mapped.map_err(|error| failed(&self.gpu, error))?;
        let range = self.copy.slice(..).get_mapped_range().map_err(|error| failed(&self.gpu, error))?;
        Tensor::new(self.shape, bytemuck::pod_collect_to_vec(&range))
    }
}

/// How long the device may be busy with a slice of a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    seconds: f64,
}

impl Budget {
    /// So many microseconds.
    pub fn microseconds(count: u32) -> Budget {
        Budget { seconds: f64::from(count) * 1e-6 }
    }

    /// As long as it takes.
    pub fn unlimited() -> Budget {
        Budget { seconds: f64::INFINITY }
    }
}

/// A forward pass that is recorded slice by slice, into as many command buffers as the host likes. Its plan is its own until it is dropped.
#[derive(Debug)]
pub struct Job {
    plan: Arc<Plan>,
    /// Where the inputs come from, until the first slice has brought them.
    feeds: VecDeque<Feed>,
    /// The first step that is not recorded.
    next: usize,
}

/// What brings an input.
#[derive(Debug)]
enum Feed {
    Copy { from: wgpu::Buffer, to: wgpu::Buffer },
    Image(PreparedImage),
}

impl Job {
    /// Records what fits in the budget, and at least one image, copy or dispatch; says whether that was all. Times are those of
    /// [`Plan::profile`], else estimated, and corrected by what slices really took, where the device can tell; those of images are estimated.
    /// The first slices read the inputs. If the commands of a slice are dropped instead of being submitted, the job is void, and is to be dropped.
    pub fn encode_slice(&mut self, encoder: &mut wgpu::CommandEncoder, budget: Budget) -> bool {
        let mut used = 0.0;
        while let Some(feed) = self.feeds.front() {
            let seconds = match feed {
                Feed::Copy { to, .. } => estimate(self.plan.gpu(), 0, 2 * to.size()),
                Feed::Image(image) => estimate(self.plan.gpu(), image.operations, 0),
            };
            if used > 0.0 && used + seconds > budget.seconds {
                return false;
            }
            used += seconds;
            match self.feeds.pop_front().expect("it is the front") {
                Feed::Copy { from, to } => encoder.copy_buffer_to_buffer(&from, 0, &to, 0, to.size()),
                Feed::Image(image) => image.encode(encoder),
            }
        }
        let steps = self.plan.times.lock().expect("no panic while it is held").fitting(self.next, used, budget.seconds);
        self.next = steps.end;
        self.plan.encode_timed(encoder, steps);
        self.next == self.plan.steps().len()
    }

    /// The outputs in the recording's order, in buffers that the plan keeps; they hold the results when all slices have run.
    ///
    /// # Panics
    /// If not all slices were recorded.
    pub fn outputs(&self) -> Vec<GpuOutput> {
        assert_eq!(self.next, self.plan.steps().len(), "a job's outputs are there when all slices are recorded");
        let output = |(buffer, shape): (&wgpu::Buffer, &Vec<usize>)| GpuOutput {
            gpu: self.plan.gpu_handle(),
            buffer: buffer.clone(),
            shape: shape.clone(),
            map: None,
        };
        self.plan.kept().iter().zip(self.plan.output_shapes()).map(output).collect()
    }
}

impl Plan {
    /// Records steps into the buffers that outputs stay in. Where the device can tell how long they take, the times of steps are corrected
    /// once the host has polled it; while one slice's times are on their way, others are not measured.
    fn encode_timed(&self, encoder: &mut wgpu::CommandEncoder, steps: Range<usize>) {
        // Copies behind the last dispatch are in no pass, which could be timed.
        let timed = self.steps()[steps.clone()].iter().rposition(|step| step.dispatch().is_some()).map(|last| steps.start..steps.start + last + 1);
        let stopwatch = self.stopwatch.get().filter(|stopwatch| timed.is_some() && Arc::strong_count(stopwatch) == 1).cloned();
        self.encode(encoder, steps, self.kept(), stopwatch.as_deref());
        let (Some(stopwatch), Some(timed)) = (stopwatch, timed) else { return };
        stopwatch.encode_read(encoder);
        let (times, period) = (self.times.clone(), self.gpu().queue.get_timestamp_period());
        encoder.map_buffer_on_submit(&stopwatch.readable().clone(), wgpu::MapMode::Read, .., move |mapped| {
            // If it fails, the next slice is cut by what was known before.
            if let (Ok(()), Ok(seconds)) = (mapped, stopwatch.seconds(period)) {
                times.lock().expect("no panic while it is held").learn(timed, seconds[0]);
            }
        });
    }

    /// Begins a forward pass; nothing is recorded yet. A source's values are copied.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if memory runs out, or the device objects to a view.
    ///
    /// # Panics
    /// If an input has another size than the recording says.
    pub async fn start(self: &Arc<Plan>, inputs: &[Source<'_>]) -> Result<Job> {
        self.keep_outputs().await?;
        let mut feeds = VecDeque::new();
        for (input, source) in self.inputs().iter().zip(inputs) {
            match source {
                Source::Images(preprocess, images) => {
                    for (number, (image, sampler)) in images.iter().enumerate() {
                        feeds.push_back(Feed::Image(sampler.prepare(self.gpu(), preprocess, image, number, input).await?));
                    }
                }
                Source::Buffer(buffer) => {
                    assert!(buffer.size() >= input.size(), "an input of {} bytes, a buffer of {}", input.size(), buffer.size());
                    feeds.push_back(Feed::Copy { from: (*buffer).clone(), to: input.clone() });
                }
                Source::Values(values) => {
                    // Of its own, because commands that were recorded before may not have run yet.
                    let make = || create(self.gpu(), "upload", input.size(), wgpu::BufferUsages::COPY_SRC, true);
                    let upload = self.gpu().checked("an input", make).await?;
                    upload.slice(..).get_mapped_range_mut().map_err(|error| failed(self.gpu(), error))?.copy_from_slice(bytemuck::cast_slice(values));
                    upload.unmap();
                    feeds.push_back(Feed::Copy { from: upload, to: input.clone() });
                }
            }
        }
        Ok(Job { plan: self.clone(), feeds, next: 0 })
    }
}
