//! The built-in model: PyTorch's logits for its whole test set, and its accuracy.

use crate::support::compare::{largest_difference, mismatch};
use crate::support::{gpu, json, path};
use safetensors::SafeTensors;
use vitraux::Precision;
use vitraux::low_level::checkpoint::open_tensor;
use vitraux::{Checkpoint, Device, Image, Model, Session, Tensor};

/// The test set: images [N, 32, 32] of 8 bits and labels [N].
fn test_set() -> (Vec<u8>, Vec<i64>) {
    let bytes = std::fs::read(path("examples/digits/test.safetensors")).expect("the test set");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let labels = file.tensor("labels").expect("labels").data().chunks_exact(8).map(|label| i64::from_le_bytes(label.try_into().expect("8 bytes")));
    (file.tensor("images").expect("images").data().to_vec(), labels.collect())
}

fn logits(session: &mut Session, images: &[u8]) -> Vec<f32> {
    let values: Vec<f32> = images.iter().map(|&level| (f32::from(level) / 255.0 - 0.5) / 0.5).collect();
    let batch = Tensor::new([images.len() / 1024, 1, 32, 32], values).expect("images");
    session.forward_blocking(&batch, &["logits"]).expect("logits")["logits"].values().into_owned()
}

fn accuracy(logits: &[f32], labels: &[i64]) -> f64 {
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("ten classes") as i64;
    let right = logits.chunks(10).zip(labels).filter(|(row, label)| best(row) == **label).count();
    right as f64 / labels.len() as f64
}

#[test]
fn logits_and_accuracy_match_pytorch() {
    let (images, labels) = test_set();
    let expected = open_tensor(path("examples/digits/expected.safetensors"), "logits").expect("logits");
    let expected: Vec<f64> = expected.values().iter().map(|&value| f64::from(value)).collect();
    let report = json("examples/digits/report.json");
    let inverted: Vec<u8> = images.iter().map(|level| 255 - level).collect();
    for device in gpu::devices() {
        let mut session = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect("a model").session();
        let got = logits(&mut session, &images);
        // The bound of the golden cases: 1e-5 of the largest value, at most of 8.
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        assert_eq!(mismatch(&got, &expected, &[labels.len(), 10], 1e-5 * largest.min(8.0)), None);
        approx::assert_relative_eq!(accuracy(&got, &labels), report["handwritten_test"].as_f64().expect("an accuracy"));
        let dark_on_light = logits(&mut session, &inverted);
        approx::assert_relative_eq!(accuracy(&dark_on_light, &labels), report["handwritten_test_dark_on_light"].as_f64().expect("an accuracy"));
    }
}

/// Every digit is read as in f32.
#[test]
fn digits_are_classified_consistently_at_reduced_precision() {
    let (images, _) = test_set();
    let best = |logits: &[f32]| -> Vec<usize> {
        logits.chunks(10).map(|row| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("ten classes")).collect()
    };
    for device in gpu::devices() {
        let [wide, half, brain, integers] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8].map(|precision| {
            let mut session =
                Model::builder(Checkpoint::digits()).device(device.clone()).precision(precision).load_blocking().expect("a model").session();
            logits(&mut session, &images)
        });
        let largest = wide.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (narrow, share) in [(half, 2e-2), (brain, 2e-2), (integers, 5e-2)] {
            let worst = largest_difference(&wide, &narrow);
            assert!(worst > 0.0 && worst <= share * largest, "on {device}: {worst} off, values are up to {largest}");
            assert_eq!(best(&wide), best(&narrow), "on {device}");
        }
    }
}

fn samples() -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(path("examples/digits/samples")).expect("samples");
    let mut files: Vec<_> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn sample_images_are_classified_correctly() {
    let files = samples();
    let expected = |name| open_tensor(path("examples/digits/expected.safetensors"), name).expect("an expected tensor").values().into_owned();
    let (pixel_values, expected_logits) = (expected("pixel_values"), expected("samples"));
    let mut session = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session();
    assert_eq!(files.len(), 8);
    for (i, file) in files.iter().enumerate() {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let image = Image::open(file).expect("an image");
        let pixels = session.model().preprocess().expect("it takes images").apply(&image).expect("pixels");
        let want: Vec<f64> = pixel_values[i * 1024..][..1024].iter().map(|&value| f64::from(value)).collect();
        assert_eq!(mismatch(&pixels.values(), &want, &[32, 32], 1e-6), None, "{name}");
        let best = session.classify_blocking(&image, 1).expect("a prediction").remove(0).top.remove(0);
        assert!(name.ends_with(best.label.as_deref().expect("a label")), "{name}: {best:?}");
        assert!((best.logit - expected_logits[i * 10 + best.index]).abs() <= 4e-5, "{name}: {best:?}");
    }
}

/// Prepared images reach a GPU as 8-bit levels, and are widened there by the preprocessor's own values: the results are equal to the bit.
#[test]
fn level_inputs_match_float_inputs_bit_for_bit() {
    for device in gpu::devices() {
        let mut session = Model::builder(Checkpoint::digits()).device(device).load_blocking().expect("a model").session();
        let preprocess = session.model().preprocess().expect("it takes images").clone();
        let image = |file| preprocess.apply(&Image::open(file).expect("an image")).expect("pixels");
        let images: Vec<Tensor> = samples().into_iter().map(image).collect();
        // More than one pass takes.
        let levels = Tensor::stack(images.iter().cycle().take(37).cloned().collect()).expect("images of one size");
        let values = Tensor::new(levels.shape(), levels.values().into_owned()).expect("as many");
        let [of_levels, of_values] = [levels, values].map(|input| session.forward_blocking(&input, &["logits"]).expect("logits").remove("logits"));
        let [of_levels, of_values] = [of_levels, of_values].map(|logits| logits.expect("it was asked for").values().into_owned());
        assert_eq!(of_levels.len(), 370);
        assert_eq!(of_levels, of_values);
    }
}

#[test]
fn parameter_count_matches_the_report() {
    let parameters = json("examples/digits/report.json")["parameters"].as_u64().expect("a count");
    assert_eq!(Checkpoint::digits().parameters() as u64, parameters);
}

#[test]
fn in_memory_images_are_classified_without_decoding() {
    let mut session = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session();
    let (images, labels) = test_set();
    let image = Image::new([32, 32], 1, images[..1024].to_vec()).expect("an image");
    let top = session.classify_blocking(&image, 3).expect("predictions").remove(0).top;
    assert_eq!((top.len(), top[0].index as i64), (3, labels[0]));
    assert!(top[0].probability > top[1].probability && top[1].probability > top[2].probability);
}
