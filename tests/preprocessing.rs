//! Resizes, crops and decoders against Pillow's results, at realistic sizes.

use crate::support::{compare::largest_difference, json, path};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vitraux::Image;
use vitraux::low_level::checkpoint::{open_preprocess, open_tensor};
use vitraux::preprocess::{Alpha, Filter, Preprocess, Resize};

const PREPROC: &str = "tests/fixtures/preproc";

/// The configuration files of a model that prepares images as an item of the manifest says.
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
fn every_manifest_item_matches_bit_for_bit() {
    let manifest = json(&format!("{PREPROC}/manifest.json"));
    let items = manifest["items"].as_array().expect("items");
    assert_eq!(items.len(), 15);
    for item in items {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_configuration(folder.path(), item);
        let prepared = open_preprocess(folder.path(), None).unwrap_or_else(|error| panic!("{item}: {error}"));
        let source = path(PREPROC).join(item["source"].as_str().expect("a source"));
        let pixel_values = prepared.apply(&Image::open(source).expect("an image")).expect("pixel values");
        let want = Image::open(path(PREPROC).join(item["expected"].as_str().expect("a name"))).expect("an image");
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

fn rgb(image: &Image) -> Vec<u8> {
    match image.channels {
        1 => image.data.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => image.data.clone(),
    }
}

/// Every kind of image decodes to what Pillow gives, EXIF orientation applied.
#[test]
fn images_of_every_kind_decode_like_pillow() {
    let manifest = json("tests/fixtures/bad/manifest.json");
    let mut exact = 0;
    for entry in manifest["images"].as_array().expect("images") {
        let (Some(file), Some(hash)) = (entry["file"].as_str(), entry["sha256_rgb8"].as_str()) else { continue };
        let image = Image::open(path("tests/fixtures/bad").join(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(image.width as u64), entry["width"].as_u64(), "{file}");
        assert_eq!(Some(image.height as u64), entry["height"].as_u64(), "{file}");
        let data = rgb(&image);
        if entry["max_abs_diff"] == 0 {
            let found: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, hash, "{file}");
            exact += 1;
            continue;
        }
        // JPEG decoders differ in rounding and in the upsampling of chroma; the manifest says how much may be.
        let reference = Image::open(path("tests/fixtures/bad").join(entry["reference_png"].as_str().expect("a name"))).expect("an image");
        let apart: Vec<f64> = data.iter().zip(rgb(&reference)).map(|(&got, want)| (f64::from(got) - f64::from(want)).abs()).collect();
        let (largest, mean) = (apart.iter().copied().fold(0.0, f64::max), apart.iter().sum::<f64>() / apart.len() as f64);
        assert!(largest <= entry["max_abs_diff"].as_f64().expect("a bound"), "{file}: {largest}");
        assert!(mean <= entry["mean_abs_diff"].as_f64().unwrap_or(1.0), "{file}: {mean}");
    }
    assert!(exact >= 20, "{exact} exact images");
}

#[test]
fn damaged_images_are_errors() {
    let manifest = json("tests/fixtures/bad/manifest.json");
    let damaged: Vec<&str> = manifest["images"]
        .as_array()
        .expect("images")
        .iter()
        .filter(|entry| entry["expect"] == "error")
        .filter_map(|entry| entry["file"].as_str())
        .collect();
    assert!(damaged.len() >= 20, "{damaged:?}");
    for file in damaged {
        assert!(Image::open(path("tests/fixtures/bad").join(file)).is_err(), "{file}");
    }
}

#[test]
fn thin_image_is_resized_only_within_its_crop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_configuration(folder.path(), &json!({ "library": "timm", "args": { "size": 224, "crop_pct": 0.9, "interpolation": "bicubic" } }));
    let prepared = open_preprocess(folder.path(), None).expect("a configuration");
    // Resized whole, it would have 248 x 24,800,000 pixels.
    let image = Image::new([100_000, 1], 3, vec![128; 300_000]).expect("an image");
    let pixel_values = prepared.apply(&image).expect("pixel values");
    assert_eq!(pixel_values.shape(), [1, 3, 224, 224]);
    assert!(
        pixel_values
            .values()
            .iter()
            .enumerate()
            .all(|(i, &value)| (value * prepared.std[i / 50176] + prepared.mean[i / 50176] - 128.0 / 255.0).abs() < 1e-6)
    );
}

/// Writes a model's folder and reads how it prepares images.
fn prepared(config: &Value, processor: Option<&Value>) -> vitraux::Result<Preprocess> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string()).expect("a writable folder");
    write("config.json", config);
    if let Some(processor) = processor {
        write("preprocessor_config.json", processor);
    }
    open_preprocess(folder.path(), None)
}

#[test]
fn every_filter_matches_pillow() {
    for filter in ["nearest", "box", "bilinear", "bicubic", "lanczos"] {
        resizes_to("source", filter, [64, 40], filter);
    }
    // The size at which two values show that Pillow's constants are of single precision.
    resizes_to("source", "hamming", [96, 205], "hamming");
    resizes_to("wide", "nearest", [2, 224], "wide_nearest");
}

fn resizes_to(source: &str, filter: &str, [height, width]: [usize; 2], expected: &str) {
    let cfg = json!({ "input_size": [3, height, width], "crop_pct": 1.0, "crop_mode": "squash", "interpolation": filter, "mean": [0], "std": [1] });
    let prepared = prepared(&json!({ "architecture": "vit_base_patch16_224", "pretrained_cfg": cfg }), None).expect("a configuration");
    let image = |name: &str| Image::open(path(&format!("tests/fixtures/pillow/{name}.png"))).expect("an image");
    let values = prepared.apply(&image(source)).expect("pixel values").values().into_owned();
    let want = image(expected).data;
    let got: Vec<u8> = (0..want.len()).map(|i| (values[i % 3 * width * height + i / 3] * 255.0).round() as u8).collect();
    assert_eq!(got, want, "{source} by {filter}");
}

#[test]
fn processors_use_their_class_defaults() {
    let classes = json("tests/fixtures/transformers_image_processors.json");
    for (class, fields) in classes.as_object().expect("classes").iter().filter(|(class, _)| class.ends_with("Processor")) {
        let silent = prepared(&json!({ "model_type": "vit" }), Some(&json!({ "image_processor_type": class }))).expect("a known class");
        let spoken = prepared(&json!({ "model_type": "vit" }), Some(fields)).expect("a known class");
        assert_eq!(silent, spoken, "{class}");
        let values =
            |key: &str| fields[key].as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number") as f32).collect::<Vec<_>>();
        assert_eq!((silent.mean, silent.std), (values("image_mean"), values("image_std")), "{class}");
    }
}

/// Old files have a number where new ones have an object, and what it means depends on the class.
/// A file that names no class is of the model's; transformers 5 may keep it within another file.
#[test]
fn processor_is_resolved_from_model_and_file() {
    for (model_type, class) in [
        ("vit", "ViT"),
        ("vit_mae", "ViT"),
        ("vit_msn", "ViT"),
        ("ijepa", "ViT"),
        ("deit", "DeiT"),
        ("dinov2", "Bit"),
        ("dinov2_with_registers", "Bit"),
        ("dinov3_vit", "DINOv3ViT"),
        ("clip", "CLIP"),
        ("clip_vision_model", "CLIP"),
        ("siglip", "Siglip"),
        ("siglip_vision_model", "Siglip"),
        ("vit-hybrid", "ViTHybrid"),
    ] {
        let config = json!({ "model_type": model_type });
        let named = json!({ "image_processor_type": format!("{class}ImageProcessor") });
        let expected = prepared(&config, Some(&named)).expect("a processor");
        assert_eq!(prepared(&config, Some(&json!({}))).expect("a processor"), expected, "{model_type}");
        // Without any file it is the same, at the model's size.
        let alone = prepared(&config, None).expect("a processor");
        assert!(alone.assumed && !expected.assumed);
        assert_eq!(
            (alone.filter, &alone.mean, alone.alpha, alone.resizes),
            (expected.filter, &expected.mean, expected.alpha, expected.resizes),
            "{model_type}"
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let nested = json!({ "processor_class": "X", "image_processor": named });
        for (name, value) in [("config.json", &config), ("processor_config.json", &nested)] {
            std::fs::write(folder.path().join(name), value.to_string()).expect("a configuration");
        }
        assert_eq!(open_preprocess(folder.path(), None).expect("a processor"), expected, "{model_type}");
        // The older file, where both are there, is not looked at.
        std::fs::write(folder.path().join("preprocessor_config.json"), json!({ "image_mean": [0.0, 0.0, 0.0] }).to_string()).expect("a file");
        assert_eq!(open_preprocess(folder.path(), None).expect("a processor"), expected, "{model_type}");
    }
    let square = prepared(&json!({ "model_type": "clip" }), Some(&json!({ "use_square_size": true })));
    assert!(square.expect_err("not run").to_string().contains("use_square_size"));
}

#[test]
fn processor_sizes_parse_in_every_form() {
    let read = |class: &str, key: &str, value: Value| {
        let processor = json!({ "image_processor_type": class, key: value, "do_center_crop": true });
        prepared(&json!({ "model_type": "vit" }), Some(&processor)).expect("a size")
    };
    for class in ["ViTImageProcessor", "DeiTFeatureExtractor", "CLIPImageProcessor", "SiglipImageProcessor", "BitImageProcessor"] {
        for (value, size) in [(json!(90), [90, 90]), (json!([40, 50]), [40, 50]), (json!({ "height": 30, "width": 20 }), [30, 20])] {
            assert_eq!(read(class, "crop_size", value).crop.expect("a crop").size, size, "{class}");
        }
        let square = ["ViT", "DeiT"].iter().any(|name| class.starts_with(name));
        let expected = if square { Resize::Exact([64, 64]) } else { Resize::ShortestEdge(64) };
        assert_eq!(read(class, "size", json!(64)).resize, expected, "{class}");
        assert_eq!(read(class, "size", json!({ "height": 8, "width": 8 })).resize, Resize::Exact([8, 8]), "{class}");
        assert_eq!(read(class, "size", json!({ "shortest_edge": 9, "longest_edge": null })).resize, Resize::ShortestEdge(9), "{class}");
    }
    let padded = json!({ "image_processor_type": "CLIPImageProcessor", "do_pad": true });
    assert!(prepared(&json!({ "model_type": "vit" }), Some(&padded)).is_err());
}

/// timm's `resolve_data_config`: what the file says of the model comes before what it says of its images.
#[test]
fn timm_input_shape_follows_resolve_data_config() {
    let cfg = |fixed: bool| json!({ "input_size": [3, 32, 32], "fixed_input_size": fixed });
    let read = |args: Value, fixed| {
        let root = json!({ "architecture": "vit_tiny_patch16_224", "model_args": args, "pretrained_cfg": cfg(fixed) });
        let prepared = prepared(&root, None).expect("a configuration");
        (prepared.channels, prepared.crop.expect("a crop").size)
    };
    assert_eq!(read(json!({}), true), (3, [32, 32]));
    assert_eq!(read(json!({ "in_chans": 1 }), true), (1, [32, 32]));
    assert_eq!(read(json!({ "img_size": 48 }), true), (3, [48, 48]));
    assert_eq!(read(json!({ "img_size": 48 }), false), (3, [32, 32]));
    assert_eq!(read(json!({ "img_size": 48, "dynamic_img_size": true }), true), (3, [32, 32]));
    assert_eq!(read(json!({ "img_size": 48, "dynamic_img_size": false }), true), (3, [48, 48]));
}

#[test]
fn impossible_preprocessing_settings_are_rejected() {
    let timm = |key: &str, value: Value| {
        let mut cfg = json!({ "input_size": [3, 8, 8] });
        cfg[key] = value;
        prepared(&json!({ "architecture": "vit_base_patch16_224", "pretrained_cfg": cfg }), None)
    };
    assert!(timm("crop_pct", json!(10)).is_err());
    assert!(timm("crop_pct", json!(0)).is_err());
    assert!(timm("crop_pct", json!(1e-8)).is_err());
    assert!(timm("std", json!(1e-300)).is_err());
    let image = Image::new([50, 70], 3, vec![7; 50 * 70 * 3]).expect("an image");
    let huge = timm("input_size", json!([3, 1_048_576, 1_048_576])).expect("a size");
    assert!(huge.apply(&image).unwrap_err().to_string().contains("1048576 x 1048576"));
    let squashed = prepared(&json!({ "model_type": "vit" }), Some(&json!({ "size": { "height": 2048, "width": 2048 } }))).expect("a size");
    let endless = json!({ "image_processor_type": "CLIPImageProcessor", "size": { "shortest_edge": 100_000 }, "resample": 0 });
    let endless = prepared(&json!({ "model_type": "vit" }), Some(&endless)).expect("a size");
    let thin = Image::new([2_000_000, 1], 1, vec![7; 2_000_000]).expect("an image");
    assert!(squashed.apply(&thin).is_err());
    assert!(endless.apply(&Image::new([2_000_000, 1], 3, vec![7; 6_000_000]).expect("an image")).is_err());
}

#[test]
fn jpeg_with_trailing_data_decodes_but_truncated_fails() {
    let mut bytes = std::fs::read(path("tests/fixtures/bad/images/baseline420.jpg")).expect("an image");
    let whole = Image::decode("whole", &bytes).expect("an image");
    bytes.extend_from_slice(b"a video behind the image \xff\xda and no end");
    assert_eq!(Image::decode("with a tail", &bytes).expect("an image"), whole);
    bytes.truncate(bytes.len() / 3);
    let is_cut = |bytes: &[u8]| Image::decode("cut", bytes).unwrap_err().to_string().contains("truncated");
    assert!(is_cut(&bytes));
    // A thumbnail in a segment of its own has an end of its own.
    let thumbnail = b"\xff\xe1\x00\x0a\xff\xd8\xff\xda..\xff\xd9";
    bytes.splice(2..2, thumbnail.iter().copied());
    assert!(is_cut(&bytes));
}

/// Transparent images are laid on white where transformers does so; timm and ViT's processor drop the alpha.
#[test]
fn transparent_images_blend_onto_white_like_transformers() {
    let folder = path("tests/fixtures/alpha");
    let prepared = open_preprocess(&folder, None).expect("a configuration");
    let mut dropped = prepared.clone();
    dropped.alpha = Alpha::Dropped;
    for name in ["rgba", "la", "palette"] {
        let image = Image::open(folder.join(format!("{name}.png"))).expect("an image");
        let want = open_tensor(folder.join("expected.safetensors"), name).expect("pixel values");
        let difference = |prepared: &Preprocess| largest_difference(&prepared.apply(&image).expect("pixel values").values(), &want.values());
        assert!(difference(&prepared) <= 1e-6, "{name} is off by {}", difference(&prepared));
        assert!(difference(&dropped) > 0.1, "{name} is not transparent");
    }
}

/// open_clip resizes to sides of two lengths by bicubic interpolation, whatever its configuration says.
#[test]
fn open_clip_resizes_to_rectangles_by_bicubic_interpolation() {
    let filter = |size: [usize; 2], mode: &str| {
        let own = json!({ "interpolation": "bilinear", "resize_mode": mode });
        prepared(&json!({ "model_cfg": { "vision_cfg": { "image_size": size } }, "preprocess_cfg": own }), None).expect("a configuration").filter
    };
    assert_eq!(filter([24, 32], "shortest"), Filter::Bicubic);
    for (size, mode) in [([32, 32], "shortest"), ([24, 32], "squash"), ([24, 32], "longest")] {
        assert_eq!(filter(size, mode), Filter::Bilinear, "{size:?}, {mode}");
    }
}

/// Siglip2's processor never crops, and Tipsv2's leaves values as they are unless it is asked.
#[test]
fn processors_take_only_the_steps_of_their_class() {
    let read = |class: &str, key: &str| {
        let mut processor = json!({ "image_processor_type": class, "crop_size": 20, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5] });
        processor[key] = json!(true);
        prepared(&json!({ "model_type": "vit" }), Some(&processor)).expect("a processor")
    };
    assert_eq!(read("Siglip2ImageProcessor", "do_center_crop").crop, None);
    assert_eq!(read("Tipsv2ImageProcessor", "do_center_crop").mean, [0.0; 3]);
    assert_eq!(read("Tipsv2ImageProcessor", "do_normalize").mean, [0.5; 3]);
}

/// Where a crop exceeds the image, torchvision pads the smaller half first; transformers' Pillow backends the larger.
#[test]
fn crops_beyond_the_image_are_padded_like_the_backend() {
    let first_white = |class: &str, model_type: &str| {
        let processor = json!({
            "image_processor_type": class, "size": { "height": 2, "width": 2 }, "do_center_crop": true, "crop_size": 5, "do_normalize": false,
        });
        let prepared = prepared(&json!({ "model_type": model_type }), Some(&processor)).expect("a processor");
        let pixels = prepared.apply(&Image::new([2, 2], 3, vec![255; 12]).expect("an image")).expect("pixel values");
        pixels.values().iter().position(|&value| value > 0.5).expect("white")
    };
    assert_eq!(first_white("DINOv3ViTImageProcessor", "dinov3_vit"), 5 + 1);
    assert_eq!(first_white("Tipsv2ImageProcessor", "tipsv2_vision_model"), 5 + 1);
    assert_eq!(first_white("ViTImageProcessor", "vit"), 2 * 5 + 2);
}
