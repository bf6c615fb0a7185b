//! Sessions: threads that share a model, and callers that await it.

use crate::support::gpu;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use vitraux::low_level::forward::output_names;
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Outputs, Session, Tensor};

fn is_shared<T: Clone + Send + Sync>() {}
fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn models_are_sync_and_sessions_are_send() {
    is_shared::<Model>();
    is_shared::<Device>();
    let mut session = is_send(digits(Device::cpu()).session());
    drop(is_send(session.forward(&image(0), &["logits"])));
    drop(is_send(Model::builder(Checkpoint::digits()).load()));
}

fn digits(device: Device) -> Model {
    Model::builder(Checkpoint::digits()).device(device).load_blocking().expect("a model")
}

fn image(seed: usize) -> Tensor {
    Tensor::new([1, 1, 32, 32], (0..1024).map(|i| ((i * (seed + 3)) as f32 * 0.01).sin()).collect()).expect("a tensor")
}

fn values(outputs: &Outputs) -> Vec<u32> {
    outputs["logits"].values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn shapes_of_outputs_are_known_before_a_pass() {
    let model = digits(Device::cpu());
    for shape in [[2, 1, 32, 32], [3, 1, 16, 40]] {
        let input = Tensor::zeros(shape);
        let mut names = output_names(model.config());
        names.extend(["attn.1.0", "rollout", "rollout.2", "pca"].map(str::to_owned));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let outputs = model.session().forward_blocking(&input, &names).expect("outputs");
        let shapes = model.output_shapes(&shape, &names).expect("shapes");
        assert!(
            outputs.iter().map(|(name, output)| (name.as_str(), output.shape())).eq(shapes.iter().map(|(name, shape)| (name.as_str(), &shape[..])))
        );
    }
    for (shape, name, message) in [([1, 3, 32, 32], "logits", "[B, 1, height, width]"), ([1, 1, 32, 32], "logit", "unknown output")] {
        let error = model.output_shapes(&shape, &[name]).expect_err("wrong");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn concurrent_sessions_match_sequential_results_bit_for_bit() {
    for device in gpu::devices() {
        let model = digits(device.clone());
        let images: Vec<Tensor> = (0..20).map(image).collect();
        let mut session = model.session();
        let expected: Vec<_> = images.iter().map(|image| values(&session.forward_blocking(image, &["logits"]).expect("logits"))).collect();
        assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "images differ");
        let got: Vec<_> = std::thread::scope(|scope| {
            let run = |image| {
                let mut session = model.session();
                move || (0..3).map(|_| values(&session.forward_blocking(image, &["logits"]).expect("logits"))).collect::<Vec<_>>()
            };
            let threads: Vec<_> = images.iter().map(|image| scope.spawn(run(image))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for (got, expected) in got.iter().zip(&expected) {
            assert!(got.iter().all(|got| got == expected), "{device}");
        }
    }
}

#[test]
fn sessions_share_weights_in_device_memory() {
    let Some(own) = gpu::smaller(|_| ()) else { return };
    let checkpoint = Checkpoint::random("vit_tiny_patch16_224").expect("a known architecture");
    let model = Model::builder(checkpoint).device(Device::from(own.clone())).load_blocking().expect("a model");
    let weights = own.buffer_counts().1;
    assert!(weights > 20_000_000, "{weights} bytes");
    let mut sessions: Vec<Session> = (0..4).map(|_| model.session()).collect();
    let mut after_each = Vec::new();
    for session in &mut sessions {
        session.forward_blocking(&Tensor::zeros([1, 3, 224, 224]), &["logits"]).expect("logits");
        after_each.push(own.buffer_counts().1);
    }
    let growth: Vec<isize> = after_each.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let pass = sessions[0].memory().expect("it has run").pass as isize;
    // Parameters and what buffers are rounded up to come on top.
    assert!(growth.iter().all(|&growth| growth < pass + weights / 20), "{growth:?} beside {pass} bytes of a pass and {weights} of weights");
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An executor of one thread that polls a task only after it was woken; it tells how long polls took at the most, and how often each task was woken.
fn run_together<T>(tasks: Vec<Pin<&mut dyn Future<Output = T>>>) -> (Vec<T>, Duration, Vec<usize>) {
    let wakes: Vec<Arc<Wakes>> = tasks.iter().map(|_| Arc::default()).collect();
    let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    let (mut tasks, mut seen) = (tasks, vec![None; wakes.len()]);
    let mut longest = Duration::ZERO;
    let start = Instant::now();
    while results.iter().any(Option::is_none) {
        for (i, task) in tasks.iter_mut().enumerate() {
            let woken = wakes[i].0.load(Ordering::Relaxed);
            if results[i].is_some() || seen[i] == Some(woken) {
                continue;
            }
            seen[i] = Some(woken);
            let waker = Waker::from(wakes[i].clone());
            let polled = Instant::now();
            if let Poll::Ready(result) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                results[i] = Some(result);
            }
            longest = longest.max(polled.elapsed());
        }
        assert!(start.elapsed() < Duration::from_secs(300), "tasks are never woken");
        std::thread::sleep(Duration::from_micros(200));
    }
    (results.into_iter().flatten().collect(), longest, wakes.iter().map(|wakes| wakes.0.load(Ordering::Relaxed)).collect())
}

#[test]
fn sessions_on_one_executor_neither_block_nor_spin() {
    for device in gpu::devices() {
        let checkpoint = Checkpoint::random("vit_tiny_patch16_224").expect("a known architecture");
        let model = Model::builder(checkpoint).device(device.clone()).load_blocking().expect("a model");
        let input = Tensor::new([2, 3, 224, 224], (0..2 * 3 * 224 * 224).map(|i| (i as f32 * 0.001).sin()).collect()).expect("a tensor");
        let mut sessions = [model.session(), model.session()];
        // Whole passes, each compiled before.
        let blocking = Instant::now();
        let expected = sessions.each_mut().map(|session| values(&session.forward_blocking(&input, &["logits"]).expect("logits")));
        let blocking = blocking.elapsed();
        let [first, second] = &mut sessions;
        let (first, second) = (pin!(first.forward(&input, &["logits"])), pin!(second.forward(&input, &["logits"])));
        let (results, longest, wakes) = run_together::<vitraux::Result<Outputs>>(vec![first, second]);
        let got: Vec<_> = results.into_iter().map(|result| values(&result.expect("logits"))).collect();
        assert_eq!(got, expected);
        assert!(longest < blocking / 4, "{device}: a poll took {longest:?}, where both passes take {blocking:?}");
        assert!(wakes.iter().all(|&wakes| wakes == 1), "{device}: {wakes:?}");
    }
}

#[test]
fn async_setup_does_not_block_the_executor() {
    let choice = if gpu::device().is_some() { DeviceChoice::Gpu } else { DeviceChoice::Cpu };
    let run = async || {
        let model = Model::builder(Checkpoint::digits()).device(Device::open(choice.clone()).await?).load().await?;
        let mut session = model.session();
        session.warm_up(&[1, 1, 32, 32], &["logits"], |_, _| ()).await?;
        session.forward(&image(1), &["logits"]).await
    };
    let expected = values(&digits(Device::cpu()).session().forward_blocking(&image(1), &["logits"]).expect("logits"));
    let start = Instant::now();
    let (results, longest, wakes) = run_together::<vitraux::Result<Outputs>>(vec![pin!(run())]);
    let got = results[0].as_ref().expect("logits")["logits"].values().into_owned();
    assert!(got.iter().zip(&expected).all(|(got, expected)| (got - f32::from_bits(*expected)).abs() < 1e-3));
    let all = start.elapsed();
    assert!(longest < all / 4, "a poll took {longest:?} of {all:?}");
    assert_eq!(wakes, [4], "one for each call");
}

#[test]
fn session_survives_dropped_futures() {
    for device in gpu::devices() {
        let mut session = digits(device).session();
        let expected = values(&session.forward_blocking(&image(2), &["logits"]).expect("logits"));
        for _ in 0..3 {
            let image = image(2);
            let mut future = Box::pin(session.forward(&image, &["logits"]));
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(values(&session.forward_blocking(&image(2), &["logits"]).expect("logits")), expected);
    }
}
