//! A recording compiled for a device, and its replay.

use super::context::{Gpu, Progress, create, failed};
use super::estimate::estimate;
use super::step_times::StepTimes;
use super::timestamps::Timestamps;
use super::upload::Pieces;
use super::weight_buffers::WeightBuffers;
use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::record::{Command, Dispatch, Output, Recording, Role};
use futures_channel::oneshot;
use half::f16;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

/// One in so many steps of a run is submitted first.
const FIRST_SHARE: usize = 5;

/// A recording with all the objects that a run needs: pipelines, bind groups, one uniform buffer, scratch buffers, and mapped staging buffers for
/// inputs and outputs. A run allocates nothing on the device, unless it starts while another is in flight.
#[derive(Debug)]
pub struct Plan {
    gpu: Arc<Gpu>,
    steps: Vec<Step>,
    inputs: Vec<wgpu::Buffer>,
    outputs: Vec<Output>,
    /// Staging buffers not in use by a run.
    transfers: Pool,
    /// Buffers of outputs that stay on the device, created on first use.
    kept: OnceLock<Vec<wgpu::Buffer>>,
    /// Known or estimated times of the steps.
    pub(super) times: Arc<Mutex<StepTimes>>,
    /// Timestamps of the begin and end of a slice; a slice whose times are pending holds a reference. Created with `kept` if the device has timestamp
    /// queries.
    pub(super) stopwatch: OnceLock<Arc<Timestamps>>,
}

type Pool = Arc<Mutex<Vec<Transfer>>>;

#[derive(Debug)]
pub(super) enum Step {
    Dispatch(CompiledDispatch),
    /// Copies a buffer to an output.
    Save {
        from: wgpu::Buffer,
        output: usize,
    },
}

#[derive(Debug)]
pub(super) struct CompiledDispatch {
    /// Source of the compiled objects.
    pub dispatch: Dispatch,
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl Step {
    /// Estimates the time on a slow device of the same kind.
    pub fn estimated(&self, gpu: &Gpu) -> f64 {
        match self {
            Step::Dispatch(CompiledDispatch { dispatch, .. }) => estimate(gpu, dispatch.flops, dispatch.bytes()),
            Step::Save { from, .. } => estimate(gpu, 0, 2 * from.size()),
        }
    }

    pub fn dispatch(&self) -> Option<&CompiledDispatch> {
        match self {
            Step::Dispatch(dispatch) => Some(dispatch),
            Step::Save { .. } => None,
        }
    }
}

impl CompiledDispatch {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.dispatch.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Staging buffers for the inputs and outputs of one run.
#[derive(Debug)]
struct Transfer {
    /// One per input, mapped between runs.
    uploads: Vec<wgpu::Buffer>,
    /// One per output.
    readable: Vec<wgpu::Buffer>,
}

pub(super) type Mapping = oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

/// A submitted run whose outputs have not been read.
#[derive(Debug)]
pub struct Pending {
    gpu: Arc<Gpu>,
    submission: wgpu::SubmissionIndex,
    transfer: Transfer,
    mappings: Vec<Mapping>,
    outputs: Vec<Output>,
    pool: Pool,
}

impl Plan {
    /// Compiles `recording` with `weights`. `progress` receives the number of pipelines done and the total.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device rejects a shader, [`Error::OutOfMemory`](crate::Error::OutOfMemory) if memory runs out.
    pub async fn compile(gpu: Arc<Gpu>, recording: &Recording, weights: &WeightBuffers, progress: Progress<'_>) -> Result<Plan> {
        let pipelines = recording.dispatches().map(|dispatch| (dispatch.kernel, &dispatch.spec));
        #[cfg(not(target_arch = "wasm32"))]
        gpu.compile_all(pipelines, progress)?;
        // A browser compiles on its own threads.
        #[cfg(target_arch = "wasm32")]
        let _ = (pipelines, progress);
        gpu.checked("the buffers of a pass", || build(&gpu, recording, weights)).await
    }

    /// Runs the plan. `inputs` are indexed by the number in [`Role::Input`]; outputs are in the recording's order.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails, [`Error::DeviceLost`](crate::Error::DeviceLost) if it is lost.
    pub async fn run(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        self.submit(&inputs.iter().map(|values| Pieces::of(values)).collect::<Vec<_>>()).await?.outputs().await
    }

    /// Starts a run without waiting for it: while the device computes, the inputs of the next run can be copied and submitted.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails, [`Error::DeviceLost`](crate::Error::DeviceLost) if it is lost.
    pub async fn submit(&self, inputs: &[Pieces<'_>]) -> Result<Pending> {
        let free = self.transfers.lock().expect("no panic while it is held").pop();
        let transfer = match free {
            Some(transfer) => transfer,
            None => self.gpu.checked("a concurrent run", || transfer(&self.gpu, &self.inputs, &self.outputs)).await?,
        };
        let encoder = || self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.forward") });
        let mut commands = encoder();
        for ((upload, input), pieces) in transfer.uploads.iter().zip(&self.inputs).zip(inputs) {
            pieces.copy_to(upload.slice(..).get_mapped_range_mut().map_err(|error| failed(&self.gpu, error))?.slice(..));
            upload.unmap();
            commands.copy_buffer_to_buffer(upload, 0, input, 0, input.size());
        }
        // The device computes the first steps while the others are encoded.
        let first = self.steps.len() / FIRST_SHARE;
        self.encode(&mut commands, 0..first, &transfer.readable, None);
        self.gpu.queue.submit([commands.finish()]);
        let mut commands = encoder();
        self.encode(&mut commands, first..self.steps.len(), &transfer.readable, None);
        let submission = self.gpu.queue.submit([commands.finish()]);
        let uploads = transfer.uploads.iter().map(|upload| map(upload, wgpu::MapMode::Write));
        let mappings = uploads.chain(transfer.readable.iter().map(|output| map(output, wgpu::MapMode::Read))).collect();
        Ok(Pending { gpu: self.gpu.clone(), submission, transfer, mappings, outputs: self.outputs.clone(), pool: self.transfers.clone() })
    }

    /// Records steps; adjacent dispatches share a pass. The stopwatch records the begin of the first dispatch and the end of the last.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder, steps: Range<usize>, outputs: &[wgpu::Buffer], stopwatch: Option<&Timestamps>) {
        let groups: Vec<&[Step]> = self.steps[steps].chunk_by(|a, b| a.dispatch().is_some() && b.dispatch().is_some()).collect();
        let computes = |group: &&[Step]| group[0].dispatch().is_some();
        let (first, last) = (groups.iter().position(computes), groups.iter().rposition(computes));
        for (number, group) in groups.into_iter().enumerate() {
            if let Step::Save { from, output } = &group[0] {
                let to = &outputs[*output];
                encoder.copy_buffer_to_buffer(from, 0, to, 0, to.size());
                continue;
            }
            let [begin, end] = [(first, 0), (last, 1)].map(|(place, moment)| (place == Some(number)).then_some(moment));
            let timestamp_writes = stopwatch.and_then(|stopwatch| stopwatch.of_pass(begin, end));
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            group.iter().filter_map(Step::dispatch).for_each(|dispatch| dispatch.encode(&mut pass));
        }
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn gpu_handle(&self) -> Arc<Gpu> {
        self.gpu.clone()
    }

    pub(super) fn inputs(&self) -> &[wgpu::Buffer] {
        &self.inputs
    }

    /// Returns the output buffers on the device, which must have been created.
    pub(super) fn kept(&self) -> &[wgpu::Buffer] {
        self.kept.get().expect("a job makes them when it starts")
    }

    /// Creates the output buffers on the device, unless they exist.
    pub(super) async fn keep_outputs(&self) -> Result<()> {
        if self.kept.get().is_none() {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let make = || self.outputs.iter().map(|output| create(&self.gpu, &output.name, output.bytes(), usage, false)).collect();
            let made = self.gpu.checked("outputs", make).await?;
            // If another thread set them first, its buffers are equivalent.
            let _ = self.kept.set(made);
            if self.gpu.takes_times() {
                // Without a stopwatch, slices are cut by the times known so far.
                let made = self.gpu.checked("a timestamp query", || Timestamps::new(&self.gpu, 2)).await;
                let _ = made.map(|stopwatch| self.stopwatch.set(Arc::new(stopwatch)));
            }
        }
        Ok(())
    }

    pub(super) fn output_shapes(&self) -> impl Iterator<Item = &Vec<usize>> {
        self.outputs.iter().map(|output| &output.shape)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Pending {
    /// Waits for the run and returns its outputs in the recording's order.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails, [`Error::DeviceLost`](crate::Error::DeviceLost) if it is lost.
    pub async fn outputs(self) -> Result<Vec<Vec<f32>>> {
        self.gpu.wait_for(Some(self.submission))?;
        for mapping in self.mappings {
            mapping.await.map_err(|error| failed(&self.gpu, error))?.map_err(|error| failed(&self.gpu, error))?;
        }
        let outputs = self.transfer.readable.iter().zip(&self.outputs).map(|(output, info)| read(&self.gpu, output, info)).collect();
        // After an error the state of these buffers is unknown, so they are dropped.
        self.pool.lock().expect("no panic while it is held").push(self.transfer);
        outputs
    }
}

fn read(gpu: &Gpu, output: &wgpu::Buffer, info: &Output) -> Result<Vec<f32>> {
    let range = output.slice(..).get_mapped_range().map_err(|error| failed(gpu, error))?;
    let values = match info.precision {
        Precision::F16 => range.chunks_exact(2).take(info.shape.iter().product()).map(|two| f16::from_le_bytes([two[0], two[1]]).to_f32()).collect(),
        Precision::F32 | Precision::Bf16 | Precision::Int8 => bytemuck::pod_collect_to_vec(&range),
    };
    drop(range);
    output.unmap();
    Ok(values)
}

/// Starts mapping a buffer. The receiver is notified when it is mapped.
fn map(buffer: &wgpu::Buffer, mode: wgpu::MapMode) -> Mapping {
    let (sender, receiver) = oneshot::channel();
    buffer.map_async(mode, .., move |result| {
        // Sending fails if the run has failed in the meantime.
        let _ = sender.send(result);
    });
    receiver
}

fn transfer(gpu: &Gpu, inputs: &[wgpu::Buffer], outputs: &[Output]) -> Transfer {
    let upload = |input: &wgpu::Buffer| create(gpu, "upload", input.size(), wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC, true);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let readable = |output: &Output| create(gpu, &output.name, output.bytes(), usage, false);
    Transfer { uploads: inputs.iter().map(upload).collect(), readable: outputs.iter().map(readable).collect() }
}

fn build(gpu: &Arc<Gpu>, recording: &Recording, weights: &WeightBuffers) -> Plan {
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let mut inputs = Vec::new();
    let buffers: Vec<_> = recording
        .buffers()
        .iter()
        .map(|info| match info.role {
            Role::Weight(number) => weights.buffers[number].clone(),
            Role::Scratch => create(gpu, &info.label, info.bytes(), storage, false),
            Role::Input(_) => {
                let input = create(gpu, &info.label, info.bytes(), storage, false);
                inputs.push(input.clone());
                input
            }
        })
        .collect();
    let outputs = recording.outputs().to_vec();
    // Outputs stay on a borrowed device, so it needs no staging buffers up front.
    let first = (!gpu.is_borrowed()).then(|| transfer(gpu, &inputs, &outputs));
    let transfers = Arc::new(Mutex::new(first.into_iter().collect()));
    let uniforms = Uniforms::new(gpu, recording);
    let mut dispatches = 0;
    let steps = recording.commands().iter().map(|command| match command {
        Command::Save { from, output } => Step::Save { from: buffers[from.index()].clone(), output: *output },
        Command::Dispatch(dispatch) => {
            dispatches += 1;
            step(gpu, dispatch, &buffers, uniforms.binding(dispatches - 1, dispatch))
        }
    });
    let steps: Vec<Step> = steps.collect();
    let times = Arc::new(Mutex::new(StepTimes::new(steps.iter().map(|step| step.estimated(gpu)).collect())));
    Plan { steps, gpu: gpu.clone(), inputs, outputs, transfers, kept: OnceLock::new(), times, stopwatch: OnceLock::new() }
}

fn step(gpu: &Gpu, dispatch: &Dispatch, buffers: &[wgpu::Buffer], params: wgpu::BufferBinding<'_>) -> Step {
    let pipeline = gpu.pipeline(dispatch.kernel, &dispatch.spec);
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) }];
    entries.extend(dispatch.kernel.bindings.iter().zip(&dispatch.views).map(|(binding, view)| wgpu::BindGroupEntry {
        binding: binding.index,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &buffers[view.buf.index()],
            offset: view.first_byte(),
            size: wgpu::BufferSize::new(view.bytes()),
        }),
    }));
    let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&dispatch.label),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    Step::Dispatch(CompiledDispatch { dispatch: dispatch.clone(), pipeline, bindings })
}

/// Parameters of all dispatches in one buffer.
struct Uniforms {
    buffer: wgpu::Buffer,
    stride: usize,
}

impl Uniforms {
    fn new(gpu: &Gpu, recording: &Recording) -> Uniforms {
        let alignment = gpu.device.limits().min_uniform_buffer_offset_alignment as usize;
        let longest = recording.dispatches().map(|dispatch| dispatch.params.len()).max().unwrap_or(4);
        let stride = longest.next_multiple_of(alignment);
        let mut contents = vec![0; stride * recording.dispatches().count().max(1)];
        for (slot, dispatch) in contents.chunks_mut(stride).zip(recording.dispatches()) {
            slot[..dispatch.params.len()].copy_from_slice(&dispatch.params);
        }
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: contents.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&buffer, 0, &contents);
        Uniforms { buffer, stride }
    }

    fn binding(&self, number: usize, dispatch: &Dispatch) -> wgpu::BufferBinding<'_> {
        // Uniform bindings consist of whole 16-byte rows.
        let size = dispatch.params.len().next_multiple_of(16) as u64;
        wgpu::BufferBinding { buffer: &self.buffer, offset: (number * self.stride) as u64, size: wgpu::BufferSize::new(size) }
    }
}
