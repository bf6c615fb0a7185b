//! Broken, hostile and odd files: one line, exit code 1, no crash, little memory, at once.

use crate::support::cli::{Run, vitraux};
use crate::support::{json, path};
use serde_json::Value;
use std::time::Duration;

const BAD: &str = "tests/fixtures/bad";

/// Memory that a program with no model in it may reach, a software GPU driver's included.
const LARGEST_MEMORY: u64 = 256 * 1024 * 1024;

fn check(entry: &Value, what: &str, run: &Run) {
    let expect = entry["expect"].as_str().expect("an expectation");
    assert!(run.elapsed < Duration::from_secs(5), "{what} took {:?}", run.elapsed);
    assert!(run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY), "{what} took {:?} bytes", run.peak_memory);
    let allowed: &[i32] = match expect {
        "error" => &[1],
        "ok" | "ok_close" | "ok_or_warning" => &[0],
        "ok_or_error" => &[0, 1],
        // A warning would be enough; an error is what vitraux gives.
        "error_or_warning" => &[1],
        other => panic!("unknown expectation {other}"),
    };
    assert!(allowed.contains(&run.code), "{what}: expected {expect}, found exit code {}: {}", run.code, run.stderr);
    if run.code == 1 {
        assert_eq!(run.errors().len(), 1, "{what}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{what} printed a result: {}", run.stdout);
        for word in entry["message_should_mention"].as_array().into_iter().flatten() {
            let word = word.as_str().expect("a word");
            assert!(run.errors()[0].contains(word), "{what}: {:?} does not mention {word}", run.errors()[0]);
        }
    }
}

#[test]
fn bad_checkpoints_match_expected_outcomes() {
    let manifest = json(&format!("{BAD}/manifest.json"));
    let entries = manifest["checkpoints"].as_array().expect("checkpoints");
    assert_eq!(entries.len(), 69);
    let image = path(BAD).join("base/image.png");
    let classify = |folder: &str| {
        vitraux([
            "classify".as_ref(),
            "--format=json".as_ref(),
            "--device=cpu".as_ref(),
            "--model".as_ref(),
            path(BAD).join(folder).as_os_str(),
            image.as_os_str(),
        ])
    };
    let logits = |run: &Run| -> Vec<f64> {
        let line: Value = serde_json::from_str(&run.stdout).expect("a line of JSON");
        line["top"].as_array().expect("classes").iter().map(|class| class["logit"].as_f64().expect("a logit")).collect()
    };
    let base = logits(&classify("base"));
    for entry in entries {
        let folder = entry["dir"].as_str().expect("a folder");
        // The matrix is square, [8, 8]: its transpose is a valid checkpoint of another model, and no
        // reader can tell. `checkpoints::transposed_weight_is_refused` tests one that is not square.
        if folder.ends_with("wrong_shape_transposed") {
            continue;
        }
        let run = classify(folder);
        check(entry, folder, &run);
        if entry["same_outputs_as"] == "base" {
            assert_eq!(logits(&run), base, "{folder}");
        }
    }
}

#[test]
fn bad_images_match_expected_outcomes() {
    let manifest = json(&format!("{BAD}/manifest.json"));
    let entries = manifest["images"].as_array().expect("images");
    assert_eq!(entries.len(), 73);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in entries {
        let file = entry["file"].as_str().expect("a file");
        let (base, output, image) = (path(BAD).join("base"), folder.path().join("pixels.safetensors"), path(BAD).join(file));
        let arguments = ["preprocess".as_ref(), "--model".as_ref(), base.as_os_str(), "--output".as_ref(), output.as_os_str(), image.as_os_str()];
        check(entry, file, &vitraux(arguments));
    }
}

/// Nothing that a reader could wait for is opened.
#[test]
#[cfg(unix)]
fn pipes_and_devices_are_rejected_as_inputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = |name: &str| {
        let copy = folder.path().join(name);
        std::fs::create_dir(&copy).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(path("examples/digits").join(file), copy.join(file)).expect("a copy");
        }
        copy
    };
    let pipe = |file: std::path::PathBuf| {
        let _ = std::fs::remove_file(&file);
        assert!(std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo runs").success());
        file.to_str().expect("UTF-8").to_owned()
    };
    let [weights, config] = ["weights", "config"].map(copy);
    let alone = pipe(folder.path().join("pipe"));
    pipe(weights.join("model.safetensors"));
    pipe(config.join("config.json"));
    let [weights, config] = [weights, config].map(|folder| folder.to_str().expect("UTF-8").to_owned());
    let image = path("examples/digits/samples/handwritten-3.png");
    let image = image.to_str().expect("UTF-8");
    let cases: [&[&str]; 8] = [
        &["classify", &alone],
        &["classify", "/dev/zero"],
        &["classify", "--model", &weights, image],
        &["classify", "--model", &config, image],
        &["classify", "--head", &alone, image],
        &["classify", "--tuning", &alone, image],
        &["classify", "--tuning", "/dev/zero", image],
        &["forward", "--input", &alone, "--output", "/dev/null"],
    ];
    for arguments in cases {
        let run = vitraux(arguments.iter().chain(&["--device", "cpu"]).map(AsRef::as_ref));
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains("found a pipe or a device"), "{arguments:?}: {}", run.stderr);
        assert!(run.elapsed < Duration::from_secs(5) && run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY), "{arguments:?}");
    }
}

/// Positions are resampled for the size that timm builds a model for, even if no image has it.
#[test]
fn absurd_dynamic_sizes_are_rejected_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = path("tests/fixtures/cases/timm_vit_tiny");
    std::fs::copy(model.join("model.safetensors"), folder.path().join("model.safetensors")).expect("a copy");
    let mut config = json("tests/fixtures/cases/timm_vit_tiny/config.json");
    config["model_args"]["dynamic_img_size"] = true.into();
    for size in [4, 16_384, 65_536, 1 << 19] {
        config["model_args"]["img_size"] = size.into();
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("it is written");
        let run = vitraux(["inspect".as_ref(), "--model".as_ref(), folder.path().as_os_str()]);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains("img_size"), "{size}: {}", run.stderr);
        assert!(run.elapsed < Duration::from_secs(5) && run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY), "{size}");
    }
}

#[test]
fn json_beyond_its_limit_is_not_parsed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("config.json"), format!("[{}0]", "[],".repeat(4 << 20))).expect("it is written");
    let run = vitraux(["inspect".as_ref(), "--model".as_ref(), folder.path().as_os_str()]);
    assert!(run.code == 1 && run.errors()[0].contains("larger than 8 MiB"), "{}", run.stderr);
    assert!(run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY / 4), "{:?}", run.peak_memory);
}

/// Runs a command with a small file, and returns the error of a run that fails within the limits.
fn refusal(arguments: &[&std::ffi::OsStr]) -> String {
    let run = vitraux(arguments.iter().copied().chain(["--device=cpu".as_ref()]));
    within_limits(&run, arguments);
    assert!(run.code == 1 && !run.errors().is_empty(), "{arguments:?}: {}", run.stderr);
    run.errors()[0].to_owned()
}

fn within_limits(run: &Run, arguments: &[&std::ffi::OsStr]) {
    assert!(run.elapsed < Duration::from_secs(5), "{arguments:?} took {:?}", run.elapsed);
    assert!(run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY), "{arguments:?} took {:?} bytes", run.peak_memory);
}

/// Decoders keep all coefficients of a progressive JPEG, and unpack colour profiles.
#[test]
fn buffers_of_decoders_count_towards_the_image_limit() {
    use image::ImageEncoder;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = std::fs::read(path(BAD).join("images/progressive.jpg")).expect("an image");
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC2]).expect("a progressive frame");
    // 30 megapixels.
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x15, 0x65, 0x15, 0x65]);
    let file = folder.path().join("progressive.jpg");
    std::fs::write(&file, bytes).expect("it is written");
    let error = refusal(&["classify".as_ref(), file.as_os_str()]);
    assert!(error.contains("5477 x 5477 pixels take 258 MiB"), "{error}");

    let file = folder.path().join("profile.png");
    let mut encoder = image::codecs::png::PngEncoder::new(std::fs::File::create(&file).expect("a file"));
    encoder.set_icc_profile(vec![0; 300 << 20]).expect("PNG has profiles");
    encoder.write_image(&[0; 64], 8, 8, image::ExtendedColorType::L8).expect("it is written");
    assert!(file.metadata().expect("a file").len() < 2 << 20);
    let arguments = ["classify".as_ref(), "--device=cpu".as_ref(), file.as_os_str()];
    let run = vitraux(arguments);
    within_limits(&run, &arguments);
    assert_eq!(run.code, 0, "profiles are of no use here: {}", run.stderr);
    assert!(run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY / 2), "took {:?} bytes", run.peak_memory);
}

#[test]
fn images_large_for_their_files_are_decoded_one_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for number in 0..6 {
        image::RgbImage::new(6000, 6000).save(folder.path().join(format!("{number}.png"))).expect("it is written");
    }
    let run = vitraux(["classify".as_ref(), "--format=json".as_ref(), "--device=cpu".as_ref(), folder.path().as_os_str()]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 6), "{}", run.stderr);
    assert!(run.peak_memory.is_none_or(|bytes| bytes < 180 << 20), "took {:?} bytes", run.peak_memory);
}

/// The limit of images that are read beside others is not that of a file.
#[test]
fn files_of_large_images_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("large.pgm");
    image::GrayImage::new(12_000, 12_000).save(&file).expect("it is written");
    let run = vitraux(["classify".as_ref(), "--device=cpu".as_ref(), file.as_os_str()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// Sizes that no published model has are used if the user asks for them.
#[test]
fn unusual_input_sizes_must_be_chosen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = |case: &str, file: &str| {
        std::fs::copy(path("tests/fixtures/cases").join(case).join(file), folder.path().join(file)).expect("a copy");
    };
    copy("timm_vit_tiny", "model.safetensors");
    let mut config = json("tests/fixtures/cases/timm_vit_tiny/config.json");
    config["model_args"]["dynamic_img_size"] = true.into();
    config["pretrained_cfg"]["input_size"] = serde_json::json!([3, 1024, 1024]);
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("it is written");
    let image = path(BAD).join("base/image.png");
    let model = ["--model".as_ref(), folder.path().as_os_str(), image.as_os_str()];
    let error = refusal(&[&["classify".as_ref()], &model[..]].concat());
    assert!(error.contains("16385 tokens") && error.contains("--image-size"), "{error}");
    let chosen = [&["classify".as_ref(), "--device=cpu".as_ref(), "--image-size=256".as_ref()], &model[..]].concat();
    let run = vitraux(chosen);
    assert_eq!(run.code, 0, "{}", run.stderr);

    copy("hf_vit_cls", "config.json");
    for (size, words) in [(4096, "--image-size"), (8192, "8192 x 8192")] {
        let processor = serde_json::json!({"image_processor_type": "ViTImageProcessor", "size": {"height": size, "width": size}});
        std::fs::write(folder.path().join("preprocessor_config.json"), processor.to_string()).expect("it is written");
        let output = folder.path().join("pixels.safetensors");
        let run = vitraux([&["preprocess".as_ref(), "--output".as_ref(), output.as_os_str()], &model[..]].concat());
        within_limits(&run, &model);
        assert!(run.code == 1 && run.errors()[0].contains(words) && !output.exists(), "{}", run.stderr);
    }
}

/// As under `ulimit -u 1`, which does not bind the superuser.
#[test]
#[cfg(target_os = "linux")]
fn refused_threads_are_an_error() {
    use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = folder.path().join("image.png");
    std::fs::copy(path("examples/digits/samples/handwritten-3.png"), &image).expect("a copy");
    // Where any user may run it.
    let program = folder.path().join("vitraux");
    std::fs::copy(env!("CARGO_BIN_EXE_vitraux"), &program).expect("a copy");
    // The second has a thread for images, and none for products.
    for processes in [1, 2] {
        let mut command = std::process::Command::new(&program);
        command.env("VITRAUX_MODEL", "digits").args(["classify".as_ref(), "--device=cpu".as_ref(), image.as_os_str()]).env("HOME", folder.path());
        if geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("they are set");
            command.uid(NOBODY);
        }
        let limit = Rlimit { current: Some(processes), maximum: Some(processes) };
        // SAFETY: one system call, which is allowed after a fork.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nproc, limit)?)) };
        let run = crate::support::cli::run(command);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains("ulimit -u"), "{processes}: {}", run.stderr);
    }
}
