//! Records a plan into a host's command buffers: nothing is submitted, and outputs stay on the device.

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

/// Source of an input.
#[derive(Clone, Copy, Debug)]
pub enum InputSource<'a> {
    /// Host memory, copied at once.
    Values(&'a [f32]),
    /// A buffer on the same device with usage `COPY_SRC`, read when the commands run.
    Buffer(&'a wgpu::Buffer),
    /// Images in textures, each with the sampler for its size.
    Images(&'a Preprocess, &'a [(TextureImage<'a>, &'a Sampler)]),
}

/// An output on the device, f32 in row-major order. It holds the result once its commands have run, until those of the next encoding with the same
/// shape and outputs run.
#[derive(Clone, Debug)]
pub struct GpuOutput {
    gpu: Arc<Gpu>,
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
    map: Option<Map>,
}

impl GpuOutput {
    /// Attaches the map of an image that the output represents.
    pub(crate) fn with_map(self, map: Option<Map>) -> GpuOutput {
        GpuOutput { map, ..self }
    }

    /// Returns the map of an image that the output represents, if it is one.
    pub fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Returns the buffer, with usages `STORAGE` and `COPY_SRC`.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Returns the sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Records a copy to a staging buffer for readback. If memory runs out or the device is lost, the host's error handler is told.
    pub fn encode_read(&self, encoder: &mut wgpu::CommandEncoder) -> Readback {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = create(&self.gpu, "readback", self.buffer.size(), usage, false);
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &copy, 0, copy.size());
        let (sender, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&copy, wgpu::MapMode::Read, .., move |result| {
            // Sending fails if the readback was dropped.
            let _ = sender.send(result);
        });
        Readback { gpu: self.gpu.clone(), copy, mapped, shape: self.shape.clone() }
    }
}

/// A copy of an output on its way to host memory.
#[derive(Debug)]
pub struct Readback {
    gpu: Arc<Gpu>,
    copy: wgpu::Buffer,
    mapped: Mapping,
    shape: Vec<usize>,
}

impl Readback {
    /// Returns the values. The future resolves once the host has submitted the commands and polled its device until they are done.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, or the commands were dropped instead of submitted; [`Error::DeviceLost`] if a device is lost that is not
    /// lent by a host.
    pub async fn values(self) -> Result<Tensor> {
        let mapped = self.mapped.await.map_err(|_| Error::device(self.gpu.summary(), "commands were dropped, not submitted"))?;
        mapped.map_err(|error| failed(&self.gpu, error))?;
        let range = self.copy.slice(..).get_mapped_range().map_err(|error| failed(&self.gpu, error))?;
        Tensor::new(self.shape, bytemuck::pod_collect_to_vec(&range))
    }
}

/// Limit on the time that the device may spend on a slice of a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    seconds: f64,
}

impl Budget {
    /// Returns a budget in microseconds.
    pub fn microseconds(count: u32) -> Budget {
        Budget { seconds: f64::from(count) * 1e-6 }
    }

    /// Returns a budget without a limit.
    pub fn unlimited() -> Budget {
        Budget { seconds: f64::INFINITY }
    }
}

/// A forward pass recorded slice by slice, into any number of command buffers. The job has exclusive use of its plan until it is dropped.
#[derive(Debug)]
pub struct Job {
    plan: Arc<Plan>,
    /// Inputs not yet recorded; the first slices record them.
    feeds: VecDeque<Feed>,
    /// Index of the first step not yet recorded.
    next: usize,
}

/// Operation that fills an input.
#[derive(Debug)]
enum Feed {
    Copy { from: wgpu::Buffer, to: wgpu::Buffer },
    Image(PreparedImage),
}

impl Job {
    /// Records as many steps as fit in the budget, but at least one image, copy or dispatch. Returns whether the job is complete. Step times come
    /// from [`Plan::profile`], or else from estimates; where the device has timestamps, measured times of slices correct them. Times of images and
    /// copied inputs are always estimated. The first slices read the inputs. If the commands of a slice are dropped instead of submitted, the job is
    /// invalid and must be dropped.
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

    /// Returns the outputs in the recording's order, in buffers owned by the plan. They hold the results once all slices have run.
    ///
    /// # Panics
    /// If some slices are not recorded yet.
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
    /// Records steps, writing outputs to the buffers that stay on the device. Where the device has timestamps, step times are corrected once the host
    /// has polled it. While the times of one slice are pending, other slices are not measured.
    fn encode_timed(&self, encoder: &mut wgpu::CommandEncoder, steps: Range<usize>) {
        // Copies after the last dispatch are outside any pass, so they cannot be timed.
        let timed = self.steps()[steps.clone()].iter().rposition(|step| step.dispatch().is_some()).map(|last| steps.start..steps.start + last + 1);
        let stopwatch = self.stopwatch.get().filter(|stopwatch| timed.is_some() && Arc::strong_count(stopwatch) == 1).cloned();
        self.encode(encoder, steps, self.kept(), stopwatch.as_deref());
        let (Some(stopwatch), Some(timed)) = (stopwatch, timed) else { return };
        stopwatch.encode_read(encoder);
        let (times, period) = (self.times.clone(), self.gpu().queue.get_timestamp_period());
        encoder.map_buffer_on_submit(&stopwatch.readable().clone(), wgpu::MapMode::Read, .., move |mapped| {
            // On failure the next slice is cut by the times known so far.
            if let (Ok(()), Ok(seconds)) = (mapped, stopwatch.seconds(period)) {
                times.lock().expect("no panic while it is held").learn(timed, seconds[0]);
            }
        });
    }

    /// Starts a forward pass without recording anything yet. Values in host memory are copied.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if memory runs out, [`Error::Device`] if the device rejects a view, [`Error::Argument`] if a texture cannot be read or
    /// its rectangle is not inside it.
    ///
    /// # Panics
    /// If the number of inputs, or the size of one, differs from the recording.
    pub async fn start(self: &Arc<Plan>, inputs: &[InputSource<'_>]) -> Result<Job> {
        assert_eq!(self.inputs().len(), inputs.len(), "one source for each input");
        self.keep_outputs().await?;
        let mut feeds = VecDeque::new();
        for (input, source) in self.inputs().iter().zip(inputs) {
            match source {
                InputSource::Images(preprocess, images) => {
                    for (number, (image, sampler)) in images.iter().enumerate() {
                        feeds.push_back(Feed::Image(sampler.prepare(self.gpu(), preprocess, image, number, input).await?));
                    }
                }
                InputSource::Buffer(buffer) => {
                    assert!(buffer.size() >= input.size(), "an input of {} bytes, a buffer of {}", input.size(), buffer.size());
                    // A trial that is never submitted: the buffer may be of another device.
                    let trial = || {
                        let mut trial = self.gpu().device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                        trial.copy_buffer_to_buffer(buffer, 0, input, 0, input.size());
                        drop(trial.finish());
                    };
                    self.gpu().checked("the input", trial).await?;
                    feeds.push_back(Feed::Copy { from: (*buffer).clone(), to: input.clone() });
                }
                InputSource::Values(values) => {
                    // A separate staging buffer, because commands recorded earlier may not have run yet.
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
