//! Resizes, crops and decoders against Pillow's results, at realistic sizes.

use crate::support::{json, path};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vitraux::checkpoint::open_preprocess;
use vitraux::{Picture, preprocess};

const PREPROC: &str = "tests/fixtures/preproc";

/// The configuration files of a model that prepares pictures as an item of the manifest says.
fn write_configuration(folder: &std::path::Path, item: &Value) {
    let args = &item["args"];
    let write = |name: &str, value: &Value| std::fs::write(folder.join(name), value.to_string()).expect("a writable folder");
    if item["library"] == "timm" {
        let size = |i: usize| if args["size"].is_array() { args["size"][i].clone() } else { args["size"].clone() };
        let mut cfg = json!({ "input_size": [3, size(0), size(1)] });
        for key in ["crop_pct", "crop_mode", "interpolation"] {
            if !args[key].is_null() {
                cfg[key] = args[key].clone();
            }
        }
        write("config.json", &json!({ "architecture": "vit_base_patch16_224", "pretrained_cfg": cfg }));
        return;
    }
    let mut processor = json!({ "image_processor_type": args["class"], "size": args["size"], "do_normalize": false });
    if !args["crop_size"].is_null() {
        processor["crop_size"] = args["crop_size"].clone();
    }
    write("config.json", &json!({ "model_type": "vit" }));
    write("preprocessor_config.json", &processor);
}

#[test]
fn every_item_of_the_manifest_is_equal_to_the_bit() {
    let manifest = json(&format!("{PREPROC}/manifest.json"));
    let items = manifest["items"].as_array().expect("items");
    assert_eq!(items.len(), 15);
    for item in items {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_configuration(folder.path(), item);
        let prepared = open_preprocess(folder.path()).unwrap_or_else(|error| panic!("{item}: {error}"));
        let source = path(PREPROC).join(item["source"].as_str().expect("a source"));
        let pixel_values = prepared.apply(&preprocess::open(source).expect("a picture")).expect("pixel values");
        let want = preprocess::open(path(PREPROC).join(item["expected"].as_str().expect("a name"))).expect("a picture");
        assert_eq!(pixel_values.shape(), [1, 3, want.height, want.width], "{item}");
        let values = pixel_values.values();
        for (i, &level) in want.data.iter().enumerate() {
            let (pixel, channel) = (i / 3, i % 3);
            let value = values[channel * want.height * want.width + pixel] * prepared.std[channel] + prepared.mean[channel];
            let got = (value * 255.0).round() as u8;
            assert_eq!(got, level, "{item}: row {}, column {}, channel {channel}", pixel / want.width, pixel % want.width);
        }
    }
}

fn rgb(picture: &Picture) -> Vec<u8> {
    match picture.channels {
        1 => picture.data.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => picture.data.clone(),
    }
}

/// Every kind of picture decodes to what Pillow gives, EXIF orientation applied.
#[test]
fn pictures_of_every_kind_decode_as_pillow_decodes_them() {
    let manifest = json("tests/fixtures/bad/manifest.json");
    let mut exact = 0;
    for entry in manifest["images"].as_array().expect("images") {
        let (Some(file), Some(hash)) = (entry["file"].as_str(), entry["sha256_rgb8"].as_str()) else { continue };
        let picture = preprocess::open(path("tests/fixtures/bad").join(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(picture.width as u64), entry["width"].as_u64(), "{file}");
        assert_eq!(Some(picture.height as u64), entry["height"].as_u64(), "{file}");
        let data = rgb(&picture);
        if entry["max_abs_diff"] == 0 {
            let found: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, hash, "{file}");
            exact += 1;
            continue;
        }
        // JPEG decoders differ in rounding and in the upsampling of chroma; the manifest says how much may be.
        let reference = preprocess::open(path("tests/fixtures/bad").join(entry["reference_png"].as_str().expect("a name"))).expect("a picture");
        let apart: Vec<f64> = data.iter().zip(rgb(&reference)).map(|(&got, want)| (f64::from(got) - f64::from(want)).abs()).collect();
        let (largest, mean) = (apart.iter().copied().fold(0.0, f64::max), apart.iter().sum::<f64>() / apart.len() as f64);
        assert!(largest <= entry["max_abs_diff"].as_f64().expect("a bound"), "{file}: {largest}");
        assert!(mean <= entry["mean_abs_diff"].as_f64().unwrap_or(1.0), "{file}: {mean}");
    }
    assert!(exact >= 20, "{exact} exact pictures");
}

#[test]
fn a_thin_picture_costs_no_more_than_its_crop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_configuration(folder.path(), &json!({ "library": "timm", "args": { "size": 224, "crop_pct": 0.9, "interpolation": "bicubic" } }));
    let prepared = open_preprocess(folder.path()).expect("a configuration");
    // Resized whole, it would have 248 x 24,800,000 pixels.
    let picture = Picture::new([100_000, 1], 3, vec![128; 300_000]).expect("a picture");
    let pixel_values = prepared.apply(&picture).expect("pixel values");
    assert_eq!(pixel_values.shape(), [1, 3, 224, 224]);
    assert!(
        pixel_values
            .values()
            .iter()
            .enumerate()
            .all(|(i, &value)| (value * prepared.std[i / 50176] + prepared.mean[i / 50176] - 128.0 / 255.0).abs() < 1e-6)
    );
}
