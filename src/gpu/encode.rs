//! A plan inside a host's command buffer: nothing is submitted, and outputs stay on the device.

use super::context::Gpu;
use super::plan::{Plan, create, failed, map};
use super::texture::{PreparedPicture, Sampler, TexturePicture};
use crate::config::{Map, Preprocess};
use crate::error::Result;
use crate::tensor::Tensor;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where an input comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The host's memory; it is copied when it is given.
    Values(&'a [f32]),
    /// A buffer of the same device with usage `COPY_SRC`, read when the commands run.
    Buffer(&'a wgpu::Buffer),
    /// Pictures in textures, each with what samples those of its size.
    Pictures(&'a Preprocess, &'a [(TexturePicture<'a>, &'a Sampler)]),
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
    pub(crate) fn with_map(self, map: Option<Map>) -> GpuOutput {
        GpuOutput { map, ..self }
    }

    /// What it shows of an image, if it is a map.
    pub fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

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
        Readback { gpu: self.gpu.clone(), copy, shape: self.shape.clone() }
    }
}

/// A copy of an output that the host will be able to read.
#[derive(Debug)]
pub struct Readback {
    gpu: Arc<Gpu>,
    copy: wgpu::Buffer,
    shape: Vec<usize>,
}

impl Readback {
    /// The values. To be called when the commands have been submitted; it is ready once the host has polled its device until they are done.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails or is lost.
    pub async fn values(self) -> Result<Tensor> {
        map(&self.copy, wgpu::MapMode::Read).await.map_err(|error| failed(&self.gpu, error))?.map_err(|error| failed(&self.gpu, error))?;
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

/// A forward pass that is recorded slice by slice, into as many command buffers as the host likes. Its plan is its own until it is
/// finished or dropped.
#[derive(Debug)]
pub struct Job {
    plan: Arc<Plan>,
    /// Where the inputs come from, until the first slice has brought them.
    feeds: VecDeque<Feed>,
    /// The first step that is not recorded.
    next: usize,
    /// How long each step takes.
    seconds: Vec<f64>,
}

/// What brings an input.
#[derive(Debug)]
enum Feed {
    Copy { from: wgpu::Buffer, to: wgpu::Buffer },
    Picture(PreparedPicture),
}

impl Job {
    /// Records what fits in the budget, by the times that were measured last or else by an estimate, and at least one picture or dispatch; says
    /// whether that was all. The first slices read the inputs.
    pub fn encode_slice(&mut self, encoder: &mut wgpu::CommandEncoder, budget: Budget) -> bool {
        let mut used = 0.0;
        let mut fits = |seconds: f64| {
            let fits = used == 0.0 || used + seconds <= budget.seconds;
            used += if fits { seconds } else { 0.0 };
            fits
        };
        while let Some(feed) = self.feeds.pop_front() {
            match feed {
                Feed::Copy { from, to } => encoder.copy_buffer_to_buffer(&from, 0, &to, 0, to.size()),
                Feed::Picture(picture) if fits(self.plan.estimate(picture.operations, 0)) => picture.encode(encoder),
                later => {
                    self.feeds.push_front(later);
                    return false;
                }
            }
        }
        let (steps, first) = (self.plan.steps(), self.next);
        while let Some(step) = steps.get(self.next) {
            if step.dispatch().is_some() && !fits(self.seconds[self.next]) {
                break;
            }
            self.next += 1;
        }
        self.plan.encode(encoder, first..self.next, self.plan.kept());
        self.next == steps.len()
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
                Source::Pictures(preprocess, pictures) => {
                    for (image, (picture, sampler)) in pictures.iter().enumerate() {
                        feeds.push_back(Feed::Picture(sampler.prepare(self.gpu(), preprocess, picture, image, input).await?));
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
        Ok(Job { plan: self.clone(), feeds, next: 0, seconds: self.seconds() })
    }
}
