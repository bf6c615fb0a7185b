//! The products and the attention that a forward pass of ViT-B/16 spends its time in, by every variant that each device can run, in every
//! precision: time on the device by its timestamps.
//!
//!     cargo bench --bench kernels -- mlp1
//!
//! `vitraux bench kernels` has rates and shares of the roofline for any model.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use vitraux::low_level::capabilities::{Capabilities, Precision};
use vitraux::low_level::kernels::{SampleEpilogue, sample, variants};
use vitraux::low_level::record::{Dispatch, Recording, Role, TuningKey};
use vitraux::{Device, DeviceChoice};

/// N, tokens of ViT-B/16 at 224 × 224, and C.
const TOKENS: usize = 197;
const WIDTH: usize = 768;

/// Sizes [N, K] of the products, by their place in a block.
const PRODUCTS: [(&str, [usize; 2]); 4] =
    [("qkv", [3 * WIDTH, WIDTH]), ("projection", [WIDTH, WIDTH]), ("mlp1", [4 * WIDTH, WIDTH]), ("mlp2", [WIDTH, 4 * WIDTH])];

/// The benchmarked tuning keys for a precision, by name.
fn keys(precision: Precision, capabilities: &Capabilities) -> Vec<(String, TuningKey)> {
    let activations = capabilities.activations(precision);
    let product = |(name, [n, k]): (&str, [usize; 2])| (name.to_owned(), TuningKey::product([TOKENS, n, k], [activations, precision], capabilities));
    let attention = TuningKey::attention(WIDTH / 64, [TOKENS, TOKENS], 64, activations, capabilities);
    let attention = matches!(precision, Precision::F32 | Precision::F16).then(|| ("attention".to_owned(), attention));
    PRODUCTS.into_iter().map(product).chain(attention).collect()
}

fn record(key: TuningKey, precision: Precision, preferred: &'static str, capabilities: Capabilities) -> Recording {
    let mut recording = Recording::new(capabilities).with_precision(precision).preferring(Some(preferred));
    sample(&mut recording, key, SampleEpilogue::Bias).expect("it fits");
    recording
}

fn bench(criterion: &mut Criterion) {
    let gpu = Device::open_blocking(DeviceChoice::Gpu);
    // To the CPU all variants are the same twin.
    let devices = [("cpu", Device::cpu(), 1)].into_iter().chain(gpu.ok().map(|gpu| ("gpu", gpu, usize::MAX)));
    for (device_name, device, most) in devices {
        let capabilities = device.capabilities();
        let precisions = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8].into_iter().take(most);
        for (precision, (name, key)) in precisions.flat_map(|precision| keys(precision, &capabilities).into_iter().map(move |one| (precision, one))) {
            let mut group = criterion.benchmark_group(format!("{name}/{precision}/{device_name}"));
            group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            for kernel in variants(key, &capabilities).into_iter().take(most) {
                let recording = record(key, precision, kernel.name, capabilities);
                group.throughput(Throughput::Elements(recording.dispatches().map(|Dispatch { flops, .. }| flops).sum()));
                let inputs = recording.buffers().iter().filter(|buffer| matches!(buffer.role, Role::Input(_)));
                let inputs: Vec<Vec<f32>> = inputs.map(|buffer| vec![0.25; buffer.bytes() as usize / 4]).collect();
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                group.bench_function(BenchmarkId::from_parameter(kernel.name), |bencher| {
                    bencher.iter_custom(|runs| {
                        let (_, timings) = device.time_blocking(recording.clone(), &inputs, runs as usize).expect("the device runs it");
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
