//! A forward pass of models of timm's (made-up weights) on each device, batch 1: latency from pixel values to logits.
//!
//!     cargo bench --bench model -- vit_base_patch16_224/cpu

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Tensor};

/// Architectures, and the side of their images.
const MODELS: [(&str, usize); 3] = [("vit_base_patch16_224", 224), ("vit_base_patch14_dinov2", 518), ("vit_base_r50_s16_384", 384)];

fn forward(criterion: &mut Criterion) {
    for (architecture, side) in MODELS {
        let mut group = criterion.benchmark_group(architecture);
        group.sample_size(10).measurement_time(Duration::from_secs(8)).warm_up_time(Duration::from_secs(2));
        for (name, choice) in [("cpu", DeviceChoice::Cpu), ("gpu", DeviceChoice::Gpu)] {
            let pixel_values = Tensor::zeros([1, 3, side, side]);
            // Loaded only if the filter lets the bench run.
            let mut session = None;
            group.bench_function(name, |bencher| {
                let session = session.get_or_insert_with(|| {
                    let checkpoint = Checkpoint::random(architecture).expect("a known architecture");
                    let device = Device::open_blocking(choice.clone()).unwrap_or_else(|error| panic!("{error}"));
                    Model::builder(checkpoint).device(device).load_blocking().unwrap_or_else(|error| panic!("{error}")).session()
                });
                bencher.iter(|| session.forward_blocking(&pixel_values, &["logits"]).expect("logits"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
