//! The reference libraries' outputs, tap by tap, on every device; and their pixel values.

use crate::support::{compare::largest_difference, gpu, json, model_in, path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitraux::Precision;
use vitraux::low_level::checkpoint::{open_integers, open_mask, open_preprocess, open_tensor};
use vitraux::low_level::forward::output_names;
use vitraux::postprocess::{classes_at, depth_at};
use vitraux::{Checkpoint, Device, Image, Model, Outputs, Session, Tokens};

type Shapes = serde_json::Map<String, Value>;

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

/// Folders whose outputs are to be reproduced.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(path(CASES)).expect("the fixtures are there");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names.len(), 105, "fixtures: {names:?}");
    names
}

/// A case's runs: at its own resolution, and at others.
fn runs(name: &str) -> Vec<Value> {
    json(&format!("{CASES}/{name}/case.json"))["runs"].as_array().expect("runs").clone()
}

/// Path to open.
fn model(name: &str) -> PathBuf {
    model_in(path(CASES).join(name))
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
    let known = known(session.model());
    let wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| shapes.contains_key(*name)).collect();
    let is_of_picture = |name: &str| ["depth_at_picture_size", "segmentation"].contains(&name);
    let given = shapes.keys().filter(|name| !is_input(name, shapes) && !is_of_picture(name)).count();
    assert_eq!(wanted.len(), given, "{what}: {wanted:?} of {:?}", shapes.keys());
    let read = |name: &str| open_tensor(&expected, name).expect("a tensor");
    let predicted = predicted_shapes(session.model(), &expected, shapes, &wanted);
    // Where nobody asks for all tokens, the last block computes fewer of them.
    let few: Vec<&str> =
        wanted.iter().filter(|name| ["features", "logits", "image", "pre"].iter().any(|start| name.starts_with(start))).copied().collect();
    let requests = [&wanted, &few].into_iter().filter(|names| !names.is_empty());
    let mut forward = |names: &[&str]| forward(session, &expected, shapes, names).unwrap_or_else(|error| panic!("{what}: {error}"));
    let outputs: Vec<_> = requests.map(|names| (names, forward(names))).collect();
    if precision == Precision::F32 {
        check_picture(&what, shapes, &outputs[outputs.len() - 1].1, &expected, run["atol_f32"]["depth_at_picture_size"].as_f64());
    }
    let mut in_order = outputs.iter().flat_map(|(names, outputs)| names.iter().map(|name| (*name, &outputs[*name])));
    in_order.find_map(|(output, got)| {
        let want = read(output);
        assert_eq!(got.shape(), want.shape(), "{what}: {output}");
        assert!(predicted.get(output).is_none_or(|predicted| got.shape() == predicted), "{what}: {output}");
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

/// Scores of image-text pairs, which no tower has alone.
const PAIRS: &str = "logits_per_image";

/// All outputs of a model, those of its text tower included.
fn known(model: &Model) -> Vec<String> {
    let of_texts = if model.config().is_text() { None } else { model.text_config() };
    output_names(model.config()).into_iter().chain(of_texts.map(output_names).unwrap_or_default()).chain([PAIRS.to_owned()]).collect()
}

/// What goes in is no output; all else that the library gave, we give.
fn is_input(name: &str, shapes: &Shapes) -> bool {
    let is_sequence = shapes.contains_key("input") && ["embeddings", "positional_encoding"].contains(&name);
    let inputs = ["input", "key_padding_mask", "input_ids", "attention_mask", "pixel_attention_mask", "spatial_shapes"];
    is_sequence || name.starts_with("pixel_values") || name.ends_with("_pil") || inputs.contains(&name)
}

/// The shapes that the model predicts for the outputs of images.
fn predicted_shapes(model: &Model, expected: &Path, shapes: &Shapes, wanted: &[&str]) -> BTreeMap<String, Vec<usize>> {
    let input = if shapes.contains_key("input") { "input" } else { "pixel_values" };
    if !shapes.contains_key(input) || shapes.contains_key("spatial_shapes") {
        return BTreeMap::new();
    }
    let of_images = output_names(model.config());
    let wanted: Vec<&str> = wanted.iter().filter(|name| of_images.iter().any(|known| known == *name)).copied().collect();
    model.output_shapes(open_tensor(expected, input).expect("a tensor").shape(), &wanted).expect("shapes")
}

/// Runs the towers that a run has inputs for.
fn forward(session: &mut Session, expected: &Path, shapes: &Shapes, wanted: &[&str]) -> vitraux::Result<Outputs> {
    let read = |name: &str| open_tensor(expected, name).expect("a tensor");
    let compares = wanted.contains(&PAIRS);
    let of_texts = session.model().text_config().map(output_names).unwrap_or_default();
    let is_of_text = |name: &&str| of_texts.iter().any(|known| known == name);
    let mut images: Vec<&str> = wanted.iter().filter(|name| **name != PAIRS && !is_of_text(name)).copied().collect();
    let mut texts: Vec<&str> = wanted.iter().filter(|name| is_of_text(name)).copied().collect();
    images.extend((compares && !images.contains(&"image_embeds")).then_some("image_embeds"));
    texts.extend((compares && !texts.contains(&"text_embeds")).then_some("text_embeds"));
    let mut outputs = Outputs::new();
    if !texts.is_empty() {
        outputs.extend(session.forward_text_blocking(&tokens(expected, shapes), &texts)?);
    }
    if !images.is_empty() {
        let mask = || open_mask(expected, "key_padding_mask").expect("a mask");
        outputs.extend(match (shapes.contains_key("input"), shapes.contains_key("key_padding_mask"), shapes.contains_key("spatial_shapes")) {
            (true, true, _) => session.forward_masked_blocking(&read("input"), &mask(), &images)?,
            (true, false, _) => session.forward_blocking(&read("input"), &images)?,
            (false, _, true) => session.forward_patches_blocking(&read("pixel_values"), &grids(expected), &images)?,
            (false, _, false) => session.forward_blocking(&read("pixel_values"), &images)?,
        });
    }
    if compares {
        let scores = session.model().similarity(&outputs["image_embeds"], &outputs["text_embeds"])?;
        outputs.insert(PAIRS.to_owned(), scores);
    }
    Ok(outputs)
}

fn tokens(expected: &Path, shapes: &Shapes) -> Tokens {
    let ids = open_integers(expected, "input_ids").expect("ids");
    let mask = shapes.contains_key("attention_mask").then(|| open_integers(expected, "attention_mask").expect("a mask"));
    let mask = mask.map(|mask| mask.values().iter().map(|value| *value != 0.0).collect());
    let shape = ids.shape().try_into().expect("[B, N]");
    Tokens::new(shape, ids.values().iter().map(|id| *id as u32).collect(), mask).expect("tokens")
}

fn grids(expected: &Path) -> Vec<[usize; 2]> {
    let shapes = open_integers(expected, "spatial_shapes").expect("grids");
    shapes.values().chunks(2).map(|pair| [pair[0] as usize, pair[1] as usize]).collect()
}

/// The results of a dense head at the size of the picture.
fn check_picture(what: &str, shapes: &Shapes, outputs: &Outputs, expected: &Path, tolerance: Option<f64>) {
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
    gpu::like_hardware().into_iter().for_each(|gpu| check(&Device::from(gpu), Precision::F32));
}

#[test]
fn hardware_kernels_in_f16_stay_close_to_reference_outputs() {
    gpu::like_hardware().into_iter().for_each(|gpu| check(&Device::from(gpu), Precision::F16));
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

/// Patches of an image `[1, channels, height, width]`, each with the channels last, and zeros up to `count` patches.
fn flattened(pixels: &vitraux::Tensor, side: usize, count: usize) -> Vec<f32> {
    let &[_, channels, height, width] = pixels.shape() else { panic!("an image") };
    let values = pixels.values();
    let mut flat = Vec::new();
    for (row, column) in (0..height / side).flat_map(|row| (0..width / side).map(move |column| (row, column))) {
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (row * side + y, column * side + x))) {
            flat.extend((0..channels).map(|channel| values[(channel * height + y) * width + x]));
        }
    }
    flat.resize(count * side * side * channels, 0.0);
    flat
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
            if key == "pixel_values" && run["pixel_values_backend"] == "torchvision" {
                continue;
            }
            let want = open_tensor(&expected, key).expect("pixel values");
            // Patches of images with grids of their own are compared as such.
            let patches = if let &[_, count, _] = want.shape() { Some(count) } else { None };
            let size = if let (&[_, _, height, width], 1..) = (want.shape(), i) { Some([height, width]) } else { None };
            let preprocess = open_preprocess(model(&name), size).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut got = Vec::new();
            for file in run["images"].as_array().expect("images") {
                let image = Image::open(folder.join(file.as_str().expect("a name"))).unwrap_or_else(|error| panic!("{what}: {error}"));
                let pixels = preprocess.apply(&image).expect("a colour image");
                match patches {
                    None => got.extend_from_slice(&pixels.values()),
                    Some(count) => got.extend(flattened(&pixels, 8, count)),
                }
            }
            let difference = largest_difference(&got, &want.values());
            // DINOv3's are not rounded to 8 bits, so torch's order of sums shows in the last bits.
            let bound = if name.contains("dinov3") { 2e-6 } else { 1e-6 };
            assert!(difference <= bound, "{what}: {key} off by {difference}");
            compared += 1;
        }
    }
    assert_eq!(compared, 102);
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
