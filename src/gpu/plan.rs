//! A recording compiled for one device, and its replay.

use super::context::Gpu;
use super::weight_buffers::WeightBuffers;
use crate::error::{Error, Result};
use crate::record::{Command, Dispatch, Recording, Role};
use futures_channel::oneshot;
use std::sync::Arc;

/// A recording with everything made that a run needs: pipelines, bind groups, one uniform buffer,
/// scratch, and the mapped buffers through which inputs and outputs pass. A run allocates nothing on
/// the device.
#[derive(Debug)]
pub struct Plan {
    gpu: Arc<Gpu>,
    steps: Vec<Step>,
    inputs: Vec<Transfer>,
    outputs: Vec<wgpu::Buffer>,
}

#[derive(Debug)]
pub(super) enum Step {
    Dispatch(CompiledDispatch),
    Save { from: wgpu::Buffer, to: wgpu::Buffer },
}

#[derive(Debug)]
pub(super) struct CompiledDispatch {
    /// What was compiled.
    pub dispatch: Dispatch,
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl Step {
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

/// An input and the buffer, mapped between runs, that the host writes it to.
#[derive(Debug)]
struct Transfer {
    upload: wgpu::Buffer,
    input: wgpu::Buffer,
}

impl Plan {
    /// Compiles `recording`, whose weights are `weights`.
    ///
    /// # Errors
    /// [`Error::Device`] if the device rejects a shader or runs out of memory.
    pub async fn compile(gpu: Arc<Gpu>, recording: &Recording, weights: &WeightBuffers) -> Result<Plan> {
        gpu.checked("compiling", || build(&gpu, recording, weights)).await
    }

    /// Runs it in one command buffer: `inputs` by the number in [`Role::Input`]; gives the outputs in
    /// the recording's order.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or is lost.
    pub async fn run(&mut self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.forward") });
        for (transfer, values) in self.inputs.iter().zip(inputs) {
            transfer.upload.slice(..).get_mapped_range_mut().map_err(|error| self.failed(error))?.copy_from_slice(bytemuck::cast_slice(values));
            transfer.upload.unmap();
            encoder.copy_buffer_to_buffer(&transfer.upload, 0, &transfer.input, 0, transfer.input.size());
        }
        self.encode(&mut encoder);
        self.gpu.queue.submit([encoder.finish()]);
        let uploads = self.inputs.iter().map(|transfer| map(&transfer.upload, wgpu::MapMode::Write));
        let mapped: Vec<_> = uploads.chain(self.outputs.iter().map(|output| map(output, wgpu::MapMode::Read))).collect();
        self.gpu.wait()?;
        for pending in mapped {
            pending.await.map_err(|error| self.failed(error))?.map_err(|error| self.failed(error))?;
        }
        self.outputs.iter().map(|output| self.read(output)).collect()
    }

    /// Records all steps; neighbouring dispatches share a pass.
    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        for group in self.steps.chunk_by(|a, b| a.dispatch().is_some() && b.dispatch().is_some()) {
            if let Step::Save { from, to } = &group[0] {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, to.size());
                continue;
            }
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            group.iter().filter_map(Step::dispatch).for_each(|dispatch| dispatch.encode(&mut pass));
        }
    }

    fn read(&self, output: &wgpu::Buffer) -> Result<Vec<f32>> {
        let range = output.slice(..).get_mapped_range().map_err(|error| self.failed(error))?;
        let values = bytemuck::pod_collect_to_vec(&range);
        drop(range);
        output.unmap();
        Ok(values)
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::Device(format!("{}: {error}", self.gpu.summary()))
    }
}

/// Asks for a mapping; the receiver hears when it is there.
fn map(buffer: &wgpu::Buffer, mode: wgpu::MapMode) -> oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>> {
    let (sender, receiver) = oneshot::channel();
    buffer.map_async(mode, .., move |result| {
        // Nobody listens if the run has failed meanwhile.
        let _ = sender.send(result);
    });
    receiver
}

fn build(gpu: &Arc<Gpu>, recording: &Recording, weights: &WeightBuffers) -> Plan {
    let create = |label: &str, size, usage, mapped_at_creation| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation })
    };
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let mut inputs = Vec::new();
    let buffers: Vec<_> = recording
        .buffers()
        .iter()
        .map(|info| match info.role {
            Role::Weight(number) => weights.buffers[number].clone(),
            Role::Scratch => create(&info.label, info.bytes(), storage, false),
            Role::Input(_) => {
                let input = create(&info.label, info.bytes(), storage, false);
                let upload = create(&info.label, info.bytes(), wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC, true);
                inputs.push(Transfer { upload, input: input.clone() });
                input
            }
        })
        .collect();
    let outputs: Vec<_> = recording
        .outputs()
        .iter()
        .map(|output| {
            let bytes = output.shape.iter().product::<usize>() as u64 * 4;
            create(&output.name, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST, false)
        })
        .collect();
    let uniforms = Uniforms::new(gpu, recording);
    let mut dispatches = 0;
    let steps = recording.commands().iter().map(|command| match command {
        Command::Save { from, output } => Step::Save { from: buffers[from.index()].clone(), to: outputs[*output].clone() },
        Command::Dispatch(dispatch) => {
            dispatches += 1;
            step(gpu, dispatch, &buffers, uniforms.binding(dispatches - 1, dispatch))
        }
    });
    Plan { steps: steps.collect(), gpu: gpu.clone(), inputs, outputs }
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

/// The parameters of all dispatches in one buffer.
struct Uniforms {
    buffer: wgpu::Buffer,
    stride: usize,
}

impl Uniforms {
    fn new(gpu: &Gpu, recording: &Recording) -> Uniforms {
        let dispatches = || {
            recording.commands().iter().filter_map(|command| match command {
                Command::Dispatch(dispatch) => Some(dispatch),
                Command::Save { .. } => None,
            })
        };
        let alignment = gpu.device.limits().min_uniform_buffer_offset_alignment as usize;
        let longest = dispatches().map(|dispatch| dispatch.params.len()).max().unwrap_or(4);
        let stride = longest.next_multiple_of(alignment);
        let mut contents = vec![0; stride * dispatches().count().max(1)];
        for (slot, dispatch) in contents.chunks_mut(stride).zip(dispatches()) {
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
        // Uniform bindings are made of whole 16-byte rows.
        let size = dispatch.params.len().next_multiple_of(16) as u64;
        wgpu::BufferBinding { buffer: &self.buffer, offset: (number * self.stride) as u64, size: wgpu::BufferSize::new(size) }
    }
}
