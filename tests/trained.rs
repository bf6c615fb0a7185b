//! Trained weights, whose outliers made-up ones do not have: DINOv2-S, which `tests/trained` brings under target/.

use crate::support::{compare::largest_difference, gpu, path};
use std::path::PathBuf;
use vitraux::Precision;
use vitraux::{Checkpoint, Device, Model, Outputs, Tensor};

/// The bounds on each output, as a share of its largest value.
const F32_TOLERANCE: f32 = 2e-5;
const F16_TOLERANCE: f32 = 2e-3;

/// The model's folders, in both layouts; nothing unless `VITRAUX_REQUIRE_TRAINED` is set, as `tests/trained` and `tests/cooperative` do it.
fn layouts() -> Vec<PathBuf> {
    if std::env::var("VITRAUX_REQUIRE_TRAINED").is_err() {
        println!("SKIPPED: trained weights; tests/trained brings and runs them");
        return Vec::new();
    }
    ["hf", "timm"].map(|layout| path("target/trained").join(layout)).to_vec()
}

fn outputs(folder: &PathBuf, device: Device, precision: Precision) -> Outputs {
    let checkpoint = Checkpoint::open(folder).expect("a checkpoint");
    let mut session = Model::builder(checkpoint).device(device).precision(precision).load_blocking().expect("a model").session();
    let pixel = |i: usize| ((i as f32 * 0.013).sin() + ((i / 224) as f32 * 0.07).cos()) * 1.1;
    let pixels = Tensor::new([1, 3, 224, 224], (0..3 * 224 * 224).map(pixel).collect()).expect("a tensor");
    session.forward_blocking(&pixels, &["hidden.3", "hidden.11", "tokens", "features"]).expect("outputs")
}

/// By the kernels for software adapters and by those for hardware, cooperative ones if the device has them; and on the CPU.
#[test]
fn trained_weights_stay_within_tolerance_of_cpu() {
    let layouts = layouts();
    if layouts.is_empty() {
        return;
    }
    let hardware = gpu::like_hardware();
    let devices = gpu::devices().into_iter().chain(hardware.map(Device::from));
    let devices: Vec<Device> = devices.collect();
    for folder in &layouts {
        let want = outputs(folder, Device::cpu(), Precision::F32);
        for device in &devices {
            for (precision, tolerance) in [(Precision::F32, F32_TOLERANCE), (Precision::F16, F16_TOLERANCE)] {
                for (name, got) in outputs(folder, device.clone(), precision) {
                    let largest = want[&name].values().iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
                    let share = largest_difference(&got.values(), &want[&name].values()) / largest;
                    println!("{}, {device}, {precision}: {name} {share:e}", folder.display());
                    assert!(share <= tolerance, "{}, {device}, {precision}: {name} is off by {share:e} of the largest value", folder.display());
                }
            }
        }
    }
}
