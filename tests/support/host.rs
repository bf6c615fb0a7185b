//! A program with a wgpu device of its own, which lends it to vitraux.

use super::gpu;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitraux::low_level::gpu::{Gpu, adapters, required_features, required_limits};
use vitraux::{Checkpoint, Device, Model, Session, Tensor};

/// A program with a device of its own.
pub struct Host {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: wgpu::Adapter,
    /// How many errors its own handler has heard of.
    pub errors: Arc<AtomicUsize>,
    pub gpu: Arc<Gpu>,
}

impl Host {
    pub fn new(features: impl FnOnce(&wgpu::Adapter) -> wgpu::Features) -> Option<Host> {
        Host::opened(features, wgpu::ExperimentalFeatures::disabled())
    }

    /// A host that has unlocked experimental features.
    pub fn opened(features: impl FnOnce(&wgpu::Adapter) -> wgpu::Features, experimental_features: wgpu::ExperimentalFeatures) -> Option<Host> {
        let index = gpu::device()?.summary().index;
        let (_, adapter) = pollster::block_on(adapters()).swap_remove(index);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("host"),
            required_features: features(&adapter),
            required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(&adapter)),
            experimental_features,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the host opens its device");
        let errors = Arc::new(AtomicUsize::new(0));
        let heard = errors.clone();
        device.on_uncaptured_error(Arc::new(move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        }));
        let lent = Device::builder().pipeline_cache(None).from_wgpu(&adapter, device.clone(), queue.clone());
        let gpu = lent.gpu().expect("it is one").clone();
        Some(Host { device, queue, adapter, errors, gpu })
    }

    pub fn session(&self) -> Session {
        let checkpoint = Checkpoint::digits();
        Model::builder(checkpoint).device(Device::from(self.gpu.clone())).load_blocking().expect("a model").session()
    }

    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits, and gives the number of this submission.
    pub fn submit(&self, encoder: Option<wgpu::CommandEncoder>) -> u64 {
        let index = format!("{:?}", self.queue.submit(encoder.map(wgpu::CommandEncoder::finish)));
        index.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a submission has a number")
    }

    pub fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    }

    pub fn buffer(&self, values: &[f32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let size = values.len() as u64 * 4;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        buffer
    }
}

pub fn image(seed: usize) -> Tensor {
    Tensor::new([1, 1, 32, 32], (0..1024).map(|i| (i as f32 * 0.01 * seed as f32).sin()).collect()).expect("a tensor")
}

/// Polls a future once.
pub fn is_pending<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    pollster::block_on(std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())))
}

/// Outputs of a session that runs by itself, on another device with the same features as a host's: it has the same kernels.
pub fn alone(input: &Tensor, wanted: &[&str]) -> vitraux::Outputs {
    let other = Host::new(required_features).expect("there is one");
    other.session().forward_blocking(input, wanted).expect("outputs")
}
