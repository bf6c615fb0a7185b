//! The reference libraries' outputs, tap by tap, on every device; and their pixel values.

use crate::support::{compare::largest_difference, gpu, json, path};
use serde_json::Value;
use std::path::{Path, PathBuf};
use vitraux::Precision;
use vitraux::low_level::checkpoint::{open_mask, open_preprocess, open_tensor};
use vitraux::low_level::forward::output_names;
use vitraux::postprocess::{classes_at, depth_at};
use vitraux::{Checkpoint, Device, Image, Model, Outputs, Session};

const CASES: &str = "tests/fixtures/cases";

/// The bound of the attention probabilities, which case.json does not list.
const ATTENTION_TOLERANCE: f64 = 1e-5;

/// The bound with weights in f16, as a share of the largest value of an output.
const F16_TOLERANCE: f64 = 1e-2;

/// The fixtures have scores of up to 100. Off by 2^-11 of that, which is 0.05, they are the exponents of probabilities off by as much.
const F16_ATTENTION_TOLERANCE: f64 = 5e-2;

/// The bound in bf16, as a share of the largest value of an output.
const BF16_TOLERANCE: f64 = 3e-2;

/// Scores of up to 100, off by 2^-9 of that, are the exponents of probabilities.
const BF16_ATTENTION_TOLERANCE: f64 = 2e-1;

/// A gated MLP of the fixtures needs most of it: the product of two rounded factors is what is rounded next.
const INT8_TOLERANCE: f64 = 3e-2;

/// Folders whose outputs are to be reproduced; the others are containers that must be refused.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(path(CASES)).expect("the fixtures are there");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with("container_pth"));
    names.sort();
    assert_eq!(names.len(), 67, "fixtures: {names:?}");
    names
}

/// A case's runs: at its own resolution, and at others.
fn runs(name: &str) -> Vec<Value> {
    json(&format!("{CASES}/{name}/case.json"))["runs"].as_array().expect("runs").clone()
}

/// What to open: the folder, or the npz file in it.
fn model(name: &str) -> PathBuf {
    let folder = path(CASES).join(name);
    let npz = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    npz.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "npz")).unwrap_or(folder)
}

/// The outputs of all runs of a case that are not within their bounds; for each run the first in the order of the computation.
fn divergences(name: &str, device: &Device, precision: Precision) -> Vec<String> {
    let checkpoint = Checkpoint::open(model(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let model =
        Model::builder(checkpoint).device(device.clone()).precision(precision).load_blocking().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut session = model.session();
    runs(name).iter().filter_map(|run| divergence(name, run, &mut session, precision)).collect()
}

fn divergence(name: &str, run: &Value, session: &mut Session, precision: Precision) -> Option<String> {
    let what = format!("{name}, run {}", run["name"].as_str().expect("a name"));
    let expected = path(CASES).join(name).join(run["expected"].as_str().expect("a file"));
    let shapes = run["shapes"].as_object().expect("shapes");
    let known = output_names(session.model().config());
    let wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| shapes.contains_key(*name)).collect();
    // What goes in is no output; all else that the library gave, we give.
    let is_input = |name: &str| name.starts_with("pixel_values") || name.ends_with("_pil") || ["input", "key_padding_mask"].contains(&name);
    let sequence_input = |name: &str| shapes.contains_key("input") && ["embeddings", "positional_encoding"].contains(&name);
    let is_of_picture = |name: &str| ["depth_at_picture_size", "segmentation"].contains(&name);
    let given = shapes.keys().filter(|name| !is_input(name) && !sequence_input(name) && !is_of_picture(name)).count();
    assert_eq!(wanted.len(), given, "{what}: {wanted:?} of {:?}", shapes.keys());
    let read = |name: &str| open_tensor(&expected, name).expect("a tensor");
    let input = read(if shapes.contains_key("input") { "input" } else { "pixel_values" });
    let predicted = session.model().output_shapes(input.shape(), &wanted).expect("shapes");
    let mut forward = |wanted: &[&str]| {
        let outputs = match (shapes.contains_key("input"), shapes.contains_key("key_padding_mask")) {
            (true, true) => session.forward_masked_blocking(&read("input"), &open_mask(&expected, "key_padding_mask").expect("a mask"), wanted),
            (true, false) => session.forward_blocking(&read("input"), wanted),
            (false, _) => session.forward_blocking(&read("pixel_values"), wanted),
        };
        outputs.unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    // Where nobody asks for all tokens, the last block computes fewer of them.
    let few: Vec<&str> =
        wanted.iter().filter(|name| ["features", "logits", "image", "pre"].iter().any(|start| name.starts_with(start))).copied().collect();
    let requests = [&wanted, &few].into_iter().filter(|names| !names.is_empty());
    let outputs: Vec<_> = requests.map(|names| (names, forward(names))).collect();
    if precision == Precision::F32 {
        check_picture(&what, shapes, &outputs[outputs.len() - 1].1, &expected, run["atol_f32"]["depth_at_picture_size"].as_f64());
    }
    let mut in_order = outputs.iter().flat_map(|(names, outputs)| names.iter().map(|name| (*name, &outputs[*name])));
    in_order.find_map(|(output, got)| {
        let want = read(output);
        assert_eq!(got.shape(), want.shape(), "{what}: {output}");
        assert_eq!(got.shape(), predicted[output], "{what}: {output}");
        let largest = want.values().iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
        let tolerance = match precision {
            Precision::F32 => run["atol_f32"][output].as_f64().unwrap_or(ATTENTION_TOLERANCE),
            Precision::F16 if output.starts_with("attn.") => F16_ATTENTION_TOLERANCE * largest,
            Precision::F16 => F16_TOLERANCE * largest,
            Precision::Bf16 if output.starts_with("attn.") => BF16_ATTENTION_TOLERANCE * largest,
            Precision::Bf16 => BF16_TOLERANCE * largest,
            Precision::Int8 => INT8_TOLERANCE * largest,
            other => panic!("no bound is known for {other}"),
        };
        let difference = f64::from(largest_difference(&got.values(), &want.values()));
        let fits = difference <= tolerance;
        (!fits).then(|| format!("{what}: {output} is off by {difference:e}, allowed {tolerance:e}"))
    })
}

/// The results of a dense head at the size of the picture.
fn check_picture(what: &str, shapes: &serde_json::Map<String, Value>, outputs: &Outputs, expected: &Path, tolerance: Option<f64>) {
    let size = |name: &str| Some([shapes.get(name)?[1].as_u64()? as usize, shapes[name][2].as_u64()? as usize]);
    if let Some(size) = size("depth_at_picture_size") {
        let want = open_tensor(expected, "depth_at_picture_size").expect("a tensor");
        let difference = f64::from(largest_difference(&depth_at(&outputs["predicted_depth"], size).expect("a map"), &want.values()));
        let tolerance = tolerance.expect("a bound");
        assert!(difference <= tolerance, "{what}: depth_at_picture_size is off by {difference:e}, allowed {tolerance:e}");
    }
    if let Some(size) = size("segmentation") {
        let (want, logits) = (open_mask(expected, "segmentation").expect("classes"), &outputs["logits"]);
        let scores = vitraux::Tensor::new(&logits.shape()[1..], logits.values().into_owned()).expect("those of one image");
        let got = classes_at(&scores, size).expect("classes");
        // Scores that are nearly equal may change places.
        let others = got.iter().zip(want.values().iter()).filter(|(got, want)| f32::from(**got) != **want).count();
        assert!(got.len() == want.len() && others * 1000 <= got.len(), "{what}: {others} of {} pixels are of other classes", got.len());
    }
}

fn check(device: &Device, precision: Precision) {
    let divergences: Vec<String> = cases().iter().flat_map(|name| divergences(name, device, precision)).collect();
    assert!(divergences.is_empty(), "on {device}:\n{}", divergences.join("\n"));
}

#[test]
fn cpu_matches_reference_outputs() {
    check(&Device::cpu(), Precision::F32);
}

#[test]
fn gpu_matches_reference_outputs() {
    if let Some(gpu) = gpu::device() {
        check(&Device::from(gpu), Precision::F32);
    }
}

/// Weights in f16 cost less than a hundredth of the largest value, on every tap.
#[test]
fn f16_stays_close_to_reference_outputs() {
    gpu::devices().iter().for_each(|device| check(device, Precision::F16));
}

/// With the kernels that a GPU is given which is no processor in disguise; of cooperative matrices, if the device has them.
#[test]
fn hardware_kernels_match_reference_outputs() {
    if let Some(gpu) = gpu::like_hardware() {
        for precision in [Precision::F32, Precision::F16] {
            check(&Device::from(gpu.clone()), precision);
        }
    }
}

/// By the processor's own instructions where it has them.
#[test]
fn bf16_stays_close_to_reference_outputs() {
    gpu::devices().iter().for_each(|device| check(device, Precision::Bf16));
}

/// Integers of 8 bits cost at most three hundredths of the largest value, on every tap.
#[test]
fn int8_stays_close_to_reference_outputs() {
    gpu::devices().iter().for_each(|device| check(device, Precision::Int8));
}

/// At the model's own size, and at others by `image_size`.
#[test]
fn preprocessing_matches_reference_pixel_values() {
    let mut compared = 0;
    for name in cases() {
        for (i, run) in runs(&name).iter().enumerate().filter(|(_, run)| !run["images"][0].is_null()) {
            let what = format!("{name}, run {i}");
            let folder = path(CASES).join(&name);
            let expected = folder.join(run["expected"].as_str().expect("a file"));
            // transformers' second set is that of its Pillow backend.
            let key = if run["shapes"]["pixel_values_pil"].is_null() { "pixel_values" } else { "pixel_values_pil" };
            let want = open_tensor(&expected, key).expect("pixel values");
            let &[_, _, height, width] = want.shape() else { panic!("{what}: pixel values have four axes") };
            let size = (i > 0).then_some([height, width]);
            let preprocess = open_preprocess(model(&name), size).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut got = Vec::new();
            for file in run["images"].as_array().expect("images") {
                let image = Image::open(folder.join(file.as_str().expect("a name"))).unwrap_or_else(|error| panic!("{what}: {error}"));
                got.extend_from_slice(&preprocess.apply(&image).expect("a colour image").values());
            }
            let difference = largest_difference(&got, &want.values());
            // DINOv3's are not rounded to 8 bits, so torch's order of sums shows in the last bits.
            let bound = if name.contains("dinov3") { 2e-6 } else { 1e-6 };
            assert!(difference <= bound, "{what}: {key} off by {difference}");
            compared += 1;
        }
    }
    assert_eq!(compared, 84);
}

#[test]
fn pickle_checkpoints_are_refused_with_conversion_advice() {
    for name in ["container_pth_legacy", "container_pth_zip"] {
        let error = Checkpoint::open(path(CASES).join(name)).unwrap_err().to_string();
        assert!(error.contains("convert it to model.safetensors"), "{error}");
    }
}

#[test]
fn batch_matches_images_run_one_by_one() {
    let folder = path(CASES).join("timm_vit_tiny");
    let pixel_values = open_tensor(folder.join("expected.safetensors"), "pixel_values").expect("pixel values");
    let values = pixel_values.values().into_owned();
    let [_, channels, height, width] = pixel_values.shape() else { panic!("a batch of images") };
    for device in gpu::devices() {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        let mut session = Model::builder(checkpoint).device(device).load_blocking().expect("a model").session();
        let together = session.forward_blocking(&pixel_values, &["logits"]).expect("logits")["logits"].values().into_owned();
        let mut alone = Vec::new();
        for image in values.chunks(channels * height * width) {
            let image = vitraux::Tensor::new([1, *channels, *height, *width], image.to_vec()).expect("an image");
            alone.extend_from_slice(&session.forward_blocking(&image, &["logits"]).expect("logits")["logits"].values());
        }
        assert!(largest_difference(&together, &alone) <= 2e-6);
    }
}
