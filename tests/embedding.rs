//! vitraux on a device that a host lends: a host program, as somebody would write it.

use crate::support::gpu;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use vitraux::gpu::{Gpu, adapters, required_features, required_limits};
use vitraux::{Checkpoint, Device, Engine, Error, GpuInput, Tensor};

/// A program with a device of its own.
struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// How many errors its own handler has heard of.
    errors: Arc<AtomicUsize>,
    gpu: Arc<Gpu>,
}

impl Host {
    fn new(features: impl FnOnce(&wgpu::Adapter) -> wgpu::Features) -> Option<Host> {
        let index = gpu::device()?.summary().index;
        let (_, adapter) = pollster::block_on(adapters()).swap_remove(index);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("host"),
            required_features: features(&adapter),
            required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(&adapter)),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the host opens its device");
        let errors = Arc::new(AtomicUsize::new(0));
        let heard = errors.clone();
        device.on_uncaptured_error(Arc::new(move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        }));
        let gpu = Arc::new(Gpu::from_wgpu(adapter.get_info(), device.clone(), queue.clone()));
        Some(Host { device, queue, errors, gpu })
    }

    fn engine(&self) -> Engine {
        let checkpoint = Checkpoint::digits();
        pollster::block_on(Engine::load(checkpoint, Device::Gpu(self.gpu.clone()))).expect("an engine")
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits, and gives the number of this submission.
    fn submit(&self, encoder: Option<wgpu::CommandEncoder>) -> u64 {
        let index = format!("{:?}", self.queue.submit(encoder.map(wgpu::CommandEncoder::finish)));
        index.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a submission has a number")
    }

    fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    }

    fn buffer(&self, values: &[f32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let size = values.len() as u64 * 4;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        buffer
    }
}

fn picture(seed: usize) -> Tensor {
    Tensor::new([1, 1, 32, 32], (0..1024).map(|i| (i as f32 * 0.01 * seed as f32).sin()).collect()).expect("a tensor")
}

/// Polls a future once.
fn is_pending<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    pollster::block_on(std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())))
}

/// What an engine on a device of its own gives.
fn alone(input: &Tensor, wanted: &[&str]) -> vitraux::Outputs {
    let own = gpu::device().expect("there is one");
    let mut engine = pollster::block_on(Engine::load(Checkpoint::digits(), Device::Gpu(own))).expect("an engine");
    engine.forward_blocking(input, wanted).expect("outputs")
}

const WANTED: [&str; 3] = ["logits", "tokens", "attn.3"];

#[test]
fn nothing_is_submitted_and_outputs_are_those_of_the_stand_alone_path() {
    let Some(host) = Host::new(required_features) else { return };
    let before = host.submit(None);
    let mut engine = host.engine();
    let (first, second) = (picture(1), picture(2));
    let mut encoder = host.encoder();
    // Two passes in one command buffer: the first one's outputs are read before the second writes them.
    let outputs = engine.encode(&mut encoder, GpuInput::Tensor(&first), &WANTED).expect("it is recorded");
    let read_first = WANTED.map(|name| outputs[name].encode_read(&mut encoder));
    let again = engine.encode(&mut encoder, GpuInput::Tensor(&second), &WANTED).expect("it is recorded");
    assert_eq!(again["logits"].buffer(), outputs["logits"].buffer());
    let read_second = WANTED.map(|name| again[name].encode_read(&mut encoder));
    assert_eq!(host.submit(Some(encoder)), before + 1, "only the host submits");
    let mut pending: Vec<_> = read_first.into_iter().chain(read_second).map(|readback| Box::pin(readback.values())).collect();
    for readback in &mut pending {
        assert!(is_pending(readback), "the host has not polled its device yet");
    }
    host.wait();
    let values: Vec<_> = pending.into_iter().map(|readback| pollster::block_on(readback).expect("values")).collect();
    let mut values = values.into_iter();
    for input in [&first, &second] {
        let expected = alone(input, &WANTED);
        for name in WANTED {
            let got = values.next().expect("as many as asked for");
            assert_eq!((got.shape(), got.values()), (expected[name].shape(), expected[name].values()), "{name}");
        }
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

#[test]
fn inputs_may_be_buffers_of_the_host() {
    let Some(host) = Host::new(required_features) else { return };
    let mut engine = host.engine();
    let input = picture(3);
    let buffer = host.buffer(&input.values(), wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::STORAGE);
    let mut encoder = host.encoder();
    let outputs = engine.encode(&mut encoder, GpuInput::Buffer(&buffer, &[1, 1, 32, 32]), &["logits"]).expect("it is recorded");
    let readback = outputs["logits"].encode_read(&mut encoder);
    host.submit(Some(encoder));
    let values = std::thread::scope(|scope| {
        let reader = scope.spawn(|| pollster::block_on(readback.values()).expect("values"));
        while !reader.is_finished() {
            host.wait();
        }
        reader.join().expect("it reads")
    });
    assert_eq!(values.values(), alone(&input, &["logits"])["logits"].values());
    let small = host.buffer(&[0.0; 10], wgpu::BufferUsages::COPY_SRC);
    let unreadable = host.buffer(&[0.0; 1024], wgpu::BufferUsages::STORAGE);
    for (buffer, words) in [(&small, "found 40 bytes"), (&unreadable, "with usage COPY_SRC")] {
        let error = engine.encode(&mut host.encoder(), GpuInput::Buffer(buffer, &[1, 1, 32, 32]), &["logits"]).expect_err("it is refused");
        assert!(matches!(&error, Error::Argument(message) if message.contains(words)), "{error}");
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

#[test]
fn the_hosts_handlers_stay_and_absent_features_are_done_without() {
    let Some(host) = Host::new(|_| wgpu::Features::empty()) else { return };
    let lost = Arc::new(Mutex::new(None));
    let told = lost.clone();
    host.device.set_device_lost_callback(move |reason, _| *told.lock().expect("no panic") = Some(reason));
    let mut engine = host.engine();
    assert_eq!((host.gpu.summary().capabilities.subgroup, host.gpu.takes_times()), (0, false));
    let mut encoder = host.encoder();
    let outputs = engine.encode(&mut encoder, GpuInput::Tensor(&picture(4)), &["logits"]).expect("it is recorded");
    let readback = outputs["logits"].encode_read(&mut encoder);
    host.submit(Some(encoder));
    let mut values = Box::pin(readback.values());
    assert!(is_pending(&mut values));
    host.wait();
    let values = pollster::block_on(values).expect("values");
    let expected = alone(&picture(4), &["logits"]);
    assert!(crate::support::compare::largest_difference(&values.values(), &expected["logits"].values()) <= 1e-5, "other kernels, near results");
    // A mistake of the host's reaches the host.
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
    let _ = host.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: u64::MAX, usage, mapped_at_creation: false });
    assert_eq!(host.errors.load(Ordering::Relaxed), 1);
    drop(engine);
    host.device.destroy();
    host.wait();
    assert_eq!(*lost.lock().expect("no panic"), Some(wgpu::DeviceLostReason::Destroyed));
}

/// Two models on one device; what one takes is free when it is dropped, and the other goes on.
#[test]
fn engines_share_a_device_and_leave_nothing_behind() {
    let Some(host) = Host::new(required_features) else { return };
    let counts = || {
        host.submit(None);
        host.wait();
        let counters = host.device.get_internal_counters().hal;
        (counters.buffers.read(), counters.buffer_memory.read())
    };
    let mut stays = host.engine();
    let encode = |engine: &mut Engine| {
        let mut encoder = host.encoder();
        let outputs = engine.encode(&mut encoder, GpuInput::Tensor(&picture(5)), &["logits"]).expect("it is recorded");
        drop(outputs);
        host.submit(Some(encoder));
    };
    encode(&mut stays);
    let before = counts();
    let mut goes = host.engine();
    encode(&mut goes);
    assert!(counts().1 > before.1 + 400_000, "{:?} {before:?}", counts());
    drop(goes);
    encode(&mut stays);
    assert_eq!(counts(), before);
    for _ in 0..100 {
        encode(&mut stays);
    }
    assert_eq!(counts(), before, "a hundred passes take no more memory");
}

#[test]
fn an_engine_on_the_cpu_says_that_it_cannot_encode() {
    let Some(host) = Host::new(required_features) else { return };
    let mut engine = pollster::block_on(Engine::load(Checkpoint::digits(), Device::Cpu)).expect("an engine");
    let error = engine.encode(&mut host.encoder(), GpuInput::Tensor(&picture(6)), &["logits"]).expect_err("it has no GPU");
    assert!(error.to_string().contains("expected an engine on a GPU"), "{error}");
}

fn is_send<T: Send>() {}

#[test]
fn an_engine_may_move_to_another_thread() {
    is_send::<Engine>();
}
