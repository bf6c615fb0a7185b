//! Trained weights, whose outliers made-up ones do not have: DINOv2-S, which `tests/trained` brings under target/.

use crate::support::{compare::largest_difference, gpu, path};
use std::path::{Path, PathBuf};
use vitraux::Precision;
use vitraux::{Checkpoint, Device, Image, Model, Outputs, Tensor};

const OUTPUTS: [&str; 6] = ["hidden.3", "hidden.11", "attn.0", "attn.11", "tokens", "features"];

/// Returns the bound on an output, as a share of its largest value.
fn tolerance(precision: Precision, output: &str) -> f32 {
    match (precision, output) {
        (Precision::F32, _) => 2e-5,
        // Where activations are f16 too, differences of scores are exponents.
        (Precision::F16, output) if output.starts_with("attn.") => 1e-2,
        (Precision::F16, _) => 2e-3,
        (Precision::Bf16, output) if output.starts_with("attn.") => 3e-2,
        (Precision::Bf16, _) => 2e-2,
        (Precision::Int8, output) if output.starts_with("attn.") => 1e-1,
        (Precision::Int8, "features") => 3e-2,
        (Precision::Int8, _) => 5e-2,
        other => panic!("no bound is known for {other:?}"),
    }
}

/// The model's folders, in both layouts, with the precisions to be tried; nothing unless `VITRAUX_REQUIRE_TRAINED` is set, as `tests/trained` and `tests/cooperative` do it.
fn layouts() -> Vec<(PathBuf, Vec<Precision>)> {
    if std::env::var("VITRAUX_REQUIRE_TRAINED").is_err() {
        println!("SKIPPED: trained weights; tests/trained brings and runs them");
        return Vec::new();
    }
    let folder = |layout: &str| path("target/trained").join(layout);
    // The values are the same in both.
    vec![(folder("hf"), vec![Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8]), (folder("timm"), vec![Precision::F32])]
}

/// The photos of the program, each with its mirror image, as 224 × 224 pixels.
fn photos(model: &Model) -> Vec<Tensor> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(path("cli/photos")).expect("photos").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jpg"));
    files.sort();
    assert_eq!(files.len(), 7);
    let prepare = model.preprocess().expect("it takes images");
    let both = |file: &PathBuf| {
        let photo = prepare.apply(&Image::open(file).expect("a photo")).expect("pixel values");
        let mut mirrored = photo.values().into_owned();
        mirrored.chunks_mut(224).for_each(|row| row.reverse());
        let mirrored = Tensor::new(photo.shape(), mirrored).expect("as many values");
        Tensor::stack(vec![photo, mirrored]).expect("images of one size")
    };
    files.iter().map(both).collect()
}

fn load(folder: &Path, device: Device, precision: Precision) -> Model {
    let checkpoint = Checkpoint::builder(folder).image_size([224, 224]).open().expect("a checkpoint");
    Model::builder(checkpoint).device(device).precision(precision).load_blocking().expect("a model")
}

fn outputs(model: &Model, photos: &[Tensor]) -> Vec<Outputs> {
    let mut session = model.session();
    photos.iter().map(|photos| session.forward_blocking(photos, &OUTPUTS).expect("outputs")).collect()
}

/// By the kernels for software adapters and by those for hardware, cooperative ones if the device has them; and on the CPU.
#[test]
fn trained_weights_stay_within_tolerance_of_cpu() {
    let layouts = layouts();
    if layouts.is_empty() {
        return;
    }
    let hardware = gpu::like_hardware();
    let is_cooperative = hardware.iter().any(|gpu| gpu.summary().capabilities.cooperative > 0);
    // Where there are cooperative matrices, the others have been run elsewhere.
    let others = if is_cooperative { Vec::new() } else { gpu::devices() };
    let devices: Vec<Device> = others.into_iter().chain(hardware.map(Device::from)).collect();
    for (folder, precisions) in &layouts {
        let reference = load(folder, Device::cpu(), Precision::F32);
        let photos = photos(&reference);
        let want = outputs(&reference, &photos);
        for device in &devices {
            for &precision in precisions {
                // The bounds of bf16 and int8 are of many photos; those of others are tight for each. Software adapters take long.
                let of_many = matches!(precision, Precision::Bf16 | Precision::Int8);
                let count = if of_many && device.gpu().is_none() { photos.len() } else { 1 + usize::from(of_many) };
                let got = outputs(&load(folder, device.clone(), precision), &photos[..count]);
                for name in OUTPUTS {
                    let pairs = || got.iter().zip(&want).map(|(got, want)| (got[name].values(), want[name].values()));
                    let largest = pairs().flat_map(|(_, want)| want.iter().map(|value| value.abs()).collect::<Vec<_>>()).fold(0.0, f32::max);
                    let share = pairs().map(|(got, want)| largest_difference(&got, &want)).fold(0.0, f32::max) / largest;
                    println!("{}, {device}, {precision}: {name} {share:e}", folder.display());
                    assert!(
                        share <= tolerance(precision, name),
                        "{}, {device}, {precision}: {name} is off by {share:e} of the largest value",
                        folder.display()
                    );
                }
            }
        }
    }
}
