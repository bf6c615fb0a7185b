//! The reference libraries' outputs, tap by tap, on every device; and their pixel values.

use crate::support::{compare::largest_difference, gpu, json, path};
use vitraux::checkpoint::open_tensor;
use vitraux::model::output_names;
use vitraux::{Checkpoint, Device, Engine, preprocess};

const CASES: &str = "tests/fixtures/cases";

/// The bound of the attention probabilities, which case.json does not list.
const ATTENTION_TOLERANCE: f64 = 1e-5;

/// Folders whose outputs are to be reproduced; the others are containers that must be refused.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(path(CASES)).expect("the fixtures are there");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with("container_pth"));
    names.sort();
    assert_eq!(names.len(), 18, "fixtures: {names:?}");
    names
}

/// The run at the checkpoint's own resolution. `hf_vit_cls` has another at 64 x 32, for which transformers
/// interpolates the position table; vitraux refuses other sizes with an error (`limits::wrong_arguments_are_errors`).
fn run(name: &str) -> serde_json::Value {
    json(&format!("{CASES}/{name}/case.json"))["runs"][0].clone()
}

/// The first output, in the order of the computation, that is not within its bound.
fn first_divergence(name: &str, device: Device) -> Option<String> {
    let folder = path(CASES).join(name);
    let run = run(name);
    let expected = folder.join(run["expected"].as_str().expect("a file"));
    let checkpoint = Checkpoint::open(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    let known = output_names(&checkpoint.config);
    let shapes = run["shapes"].as_object().expect("shapes");
    let wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| shapes.contains_key(*name)).collect();
    assert!(wanted.len() >= 3, "{name} gives {wanted:?}");
    let pixel_values = open_tensor(&expected, "pixel_values").expect("pixel values");
    let mut engine = pollster::block_on(Engine::load(checkpoint, device)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let outputs = engine.forward_blocking(&pixel_values, &wanted).unwrap_or_else(|error| panic!("{name}: {error}"));
    wanted.iter().find_map(|output| {
        let want = open_tensor(&expected, output).expect("an expected output");
        let got = &outputs[*output];
        assert_eq!(got.shape(), want.shape(), "{name}: {output}");
        let tolerance = run["atol_f32"][output].as_f64().unwrap_or(ATTENTION_TOLERANCE);
        let difference = f64::from(largest_difference(&got.values(), &want.values()));
        let fits = difference <= tolerance;
        (!fits).then(|| format!("{name}: {output} is off by {difference:e}, allowed {tolerance:e}"))
    })
}

fn check(device: &Device) {
    let divergences: Vec<String> = cases().iter().filter_map(|name| first_divergence(name, device.clone())).collect();
    assert!(divergences.is_empty(), "on {device}:\n{}", divergences.join("\n"));
}

#[test]
fn the_cpu_gives_the_libraries_outputs() {
    check(&Device::Cpu);
}

#[test]
fn the_gpu_gives_the_libraries_outputs() {
    if let Some(gpu) = gpu::device() {
        check(&Device::Gpu(gpu));
    }
}

#[test]
fn pictures_become_the_libraries_pixel_values() {
    for name in cases() {
        let folder = path(CASES).join(&name);
        let run = run(&name);
        let expected = folder.join(run["expected"].as_str().expect("a file"));
        // transformers' second set is that of its Pillow backend.
        let key = if run["shapes"]["pixel_values_pil"].is_null() { "pixel_values" } else { "pixel_values_pil" };
        let want = open_tensor(&expected, key).expect("pixel values");
        let preprocess = vitraux::checkpoint::open_preprocess(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut got = Vec::new();
        for image in run["images"].as_array().expect("images") {
            let picture = preprocess::open(folder.join(image.as_str().expect("a name"))).unwrap_or_else(|error| panic!("{name}: {error}"));
            got.extend_from_slice(&preprocess.apply(&picture).expect("a colour picture").values());
        }
        let difference = largest_difference(&got, &want.values());
        assert!(difference <= 1e-6, "{name}: {key} off by {difference}");
    }
}

#[test]
fn pickles_are_refused_with_advice() {
    for name in ["container_pth_legacy", "container_pth_zip"] {
        let error = Checkpoint::open(path(CASES).join(name)).unwrap_err().to_string();
        assert!(error.contains("convert it to model.safetensors"), "{error}");
    }
}

#[test]
fn a_batch_gives_what_its_images_give_one_by_one() {
    let folder = path(CASES).join("timm_vit_tiny");
    let pixel_values = open_tensor(folder.join("expected.safetensors"), "pixel_values").expect("pixel values");
    let values = pixel_values.values().into_owned();
    let [_, channels, height, width] = pixel_values.shape() else { panic!("a batch of images") };
    for device in gpu::devices() {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        let mut engine = pollster::block_on(Engine::load(checkpoint, device)).expect("an engine");
        let together = engine.forward_blocking(&pixel_values, &["logits"]).expect("logits")["logits"].values().into_owned();
        let mut alone = Vec::new();
        for image in values.chunks(channels * height * width) {
            let image = vitraux::Tensor::new([1, *channels, *height, *width], image.to_vec()).expect("an image");
            alone.extend_from_slice(&engine.forward_blocking(&image, &["logits"]).expect("logits")["logits"].values());
        }
        assert!(largest_difference(&together, &alone) <= 2e-6);
    }
}
