//! The kernels that a forward pass of ViT-B/16 spends its time in, by every variant that each device can run, in its precision:
//! time on the device by its timestamps.
//!
//!     cargo bench --bench kernels -- mlp1
//!
//! `vitraux bench kernels` has rates and shares of the roofline for any model.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use vitraux::config::Activation;
use vitraux::kernels::{self, Epilogue, WAYS};
use vitraux::record::{Buf, Dispatch, Recording, Role};
use vitraux::{Device, DeviceChoice, Result};

/// N, tokens of ViT-B/16 at 224 × 224, and C.
const TOKENS: usize = 197;
const WIDTH: usize = 768;

/// Sizes [N, K] of the products, by their place in a block.
const PRODUCTS: [(&str, [usize; 2]); 4] =
    [("qkv", [3 * WIDTH, WIDTH]), ("projection", [WIDTH, WIDTH]), ("mlp1", [4 * WIDTH, WIDTH]), ("mlp2", [WIDTH, 4 * WIDTH])];

/// Records a kernel's call.
type Record = Box<dyn Fn(Recording) -> Result<Recording>>;

fn product(mut recording: Recording, name: &str, [n, k]: [usize; 2]) -> Result<Recording> {
    let x = recording.input("x", &[TOKENS, k])?;
    let w = recording.input_factor("w", [n, k])?;
    let bias = recording.input("bias", &[n])?;
    let y = recording.scratch("y", &[TOKENS, n])?;
    let epilogue = if name == "mlp1" { Epilogue::Activation(Activation::Gelu) } else { Epilogue::Bias };
    kernels::matmul(&mut recording, name.to_owned(), x, [w, bias], epilogue, y)?;
    Ok(saved(recording, y))
}

fn attention(mut recording: Recording) -> Result<Recording> {
    let qkv = recording.input("qkv", &[1, TOKENS, 3 * WIDTH])?;
    let y = recording.scratch("y", &[1, TOKENS, WIDTH])?;
    kernels::attention(&mut recording, "attention".to_owned(), qkv, WIDTH / 64, None, y)?;
    Ok(saved(recording, y))
}

fn layernorm(mut recording: Recording) -> Result<Recording> {
    let x = recording.input("x", &[TOKENS, WIDTH])?;
    let [weight, bias] = [recording.input("weight", &[WIDTH])?, recording.input("bias", &[WIDTH])?];
    let y = recording.scratch("y", &[TOKENS, WIDTH])?;
    kernels::layernorm(&mut recording, "norm1".to_owned(), x, [weight, bias], y, 1e-6)?;
    Ok(saved(recording, y))
}

fn saved(mut recording: Recording, y: Buf) -> Recording {
    recording.save("y", y);
    recording
}

fn dispatch(recording: &Recording) -> &Dispatch {
    recording.dispatches().next().expect("one kernel is recorded")
}

fn bench(criterion: &mut Criterion) {
    let open = |choice: DeviceChoice| pollster::block_on(Device::open(&choice)).map(|(device, _)| device);
    let devices = [("cpu", Device::Cpu)].into_iter().chain(open(DeviceChoice::Gpu).ok().map(|gpu| ("gpu", gpu)));
    for (device_name, device) in devices {
        let products = PRODUCTS.map(|(name, sizes)| (name, Box::new(move |recording| product(recording, name, sizes)) as Record));
        let others = [("attention", Box::new(attention) as Record), ("layernorm", Box::new(layernorm))];
        for (name, record) in products.into_iter().chain(others) {
            let mut group = criterion.benchmark_group(format!("{name}/{device_name}"));
            group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            let mut known = Vec::new();
            for way in std::iter::once(None).chain(WAYS.iter().copied().map(Some)) {
                let record = || record(Recording::new(device.capabilities()).preferring(way)).expect("it fits");
                let recording = record();
                let Dispatch { kernel, spec, flops, .. } = dispatch(&recording);
                // All ways are the same twin to the CPU; most leave most kernels as they are.
                if known.contains(&(kernel.name, spec.clone())) || device_name == "cpu" && way.is_some() {
                    continue;
                }
                known.push((kernel.name, spec.clone()));
                group.throughput(if *flops > 0 { Throughput::Elements(*flops) } else { Throughput::Bytes(dispatch(&recording).bytes()) });
                let inputs: Vec<Vec<f32>> = recording
                    .buffers()
                    .iter()
                    .filter(|buffer| matches!(buffer.role, Role::Input(_)))
                    .map(|buffer| vec![0.25; buffer.len()])
                    .collect();
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                group.bench_function(BenchmarkId::from_parameter(way.unwrap_or(kernel.name)), |bencher| {
                    bencher.iter_custom(|runs| {
                        let (_, timings) = device.time_blocking(record(), &inputs, runs as usize).expect("the device runs it");
                        Duration::from_secs_f64(timings.iter().flatten().map(|timing| timing.seconds).sum())
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
