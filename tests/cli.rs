//! The program as people call it.

use crate::support::cli::{program, vitraux};
use crate::support::{gpu, path};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use vitraux::Tensor;
use vitraux::low_level::checkpoint::open_tensor;

fn run<const N: usize>(arguments: [&str; N]) -> crate::support::cli::Run {
    vitraux(arguments.map(OsStr::new))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn classify_prints_top_classes_as_text() {
    let image = path("examples/digits/samples/handwritten-3.png");
    let run = run(["classify", "--top", "2", text(&image)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with(text(&image)) && lines[0].ends_with(" ms)"), "{}", lines[0]);
    assert!(lines[1].contains('%') && lines[1].ends_with(" 3"), "{}", lines[1]);
    assert!(run.stderr.lines().any(|line| line.starts_with("device: ") && line.ends_with(')')), "{}", run.stderr);
}

#[test]
fn classify_writes_one_json_line_per_image() {
    let [first, second] = ["printed-2", "printed-9"].map(|name| path(&format!("examples/digits/samples/{name}.png")));
    let run = run(["classify", "--format", "json", "--device", "cpu", "--top", "3", text(&first), text(&second)]);
    let lines: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), 2);
    for (line, (image, label)) in lines.iter().zip([(&first, "2"), (&second, "9")]) {
        assert_eq!(line["image"], text(image));
        assert_eq!(line["device"], "cpu");
        assert!(line["milliseconds"].as_f64().expect("a number") > 0.0);
        let top = line["top"].as_array().expect("classes");
        assert_eq!(top.len(), 3);
        assert_eq!((top[0]["label"].as_str(), top[0]["index"].as_u64()), (Some(label), label.parse().ok()));
        assert!(top[0]["probability"].as_f64() > top[1]["probability"].as_f64() && top[0]["logit"].as_f64() > top[1]["logit"].as_f64());
    }
}

#[test]
fn gpu_and_cpu_predictions_agree() {
    if gpu::device().is_none() {
        return;
    }
    let image = path("examples/digits/samples/printed-6.png");
    let predictions = ["cpu", "gpu"].map(|device| {
        let run = run(["classify", "--format", "json", "--device", device, text(&image)]);
        serde_json::from_str::<Value>(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr))["top"].clone()
    });
    for (cpu, gpu) in predictions[0].as_array().expect("classes").iter().zip(predictions[1].as_array().expect("classes")) {
        assert_eq!(cpu["index"], gpu["index"]);
        assert!((cpu["logit"].as_f64().expect("a number") - gpu["logit"].as_f64().expect("a number")).abs() < 4e-5);
    }
}

#[test]
fn forward_writes_outputs_and_taps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.safetensors");
    let case = path("tests/fixtures/cases/hf_vit_cls");
    let input = case.join("expected.safetensors");
    let arguments = ["forward", "--model", text(&case), "--input", text(&input), "--output", text(&output), "--device", "cpu", "--precision", "f32"];
    let standard = vitraux(arguments.map(OsStr::new));
    assert_eq!(standard.code, 0, "{}", standard.stderr);
    for name in ["tokens", "features", "logits"] {
        assert_eq!(open_tensor(&output, name).expect(name).shape(), open_tensor(&input, name).expect(name).shape());
    }
    assert!(open_tensor(&output, "hidden.0").is_err());
    let tapped = vitraux(arguments.iter().copied().chain(["--tap", "hidden.0,attn.2"]).map(OsStr::new));
    assert_eq!(tapped.code, 0, "{}", tapped.stderr);
    assert_eq!(open_tensor(&output, "attn.2").expect("a tap").shape(), [2, 3, 37, 37]);
    assert!(open_tensor(&output, "hidden.0").is_ok() && open_tensor(&output, "hidden.1").is_err());
    let all = vitraux(arguments.iter().copied().chain(["--tap", "all"]).map(OsStr::new));
    assert_eq!(all.code, 0, "{}", all.stderr);
    for name in ["embeddings", "hidden.0", "hidden.1", "hidden.2", "attn.0", "attn.1", "attn.2", "probabilities"] {
        assert!(open_tensor(&output, name).is_ok(), "{name}");
    }
    let unknown = vitraux(arguments.iter().copied().chain(["--tap", "hidden.3"]).map(OsStr::new));
    assert_eq!(unknown.code, 1);
    assert!(unknown.errors()[0].contains("hidden.3") && unknown.errors()[0].contains("hidden.0 to hidden.2"), "{}", unknown.stderr);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no partial file is left");
}

/// Another size: `--image-size` for images, and whatever size pixel values have.
#[test]
fn models_run_at_non_native_sizes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [pixels, output] = ["pixels.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let case = path("tests/fixtures/cases/timm_dynamic_size");
    let expected = case.join("expected_96x64.safetensors");
    let image = case.join("image.png");
    let made = run(["preprocess", "--model", text(&case), "--image-size", "96", "64", "--output", text(&pixels), text(&image)]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let want = open_tensor(&expected, "pixel_values").expect("pixel values");
    assert_eq!(open_tensor(&pixels, "pixel_values").expect("pixel values").values(), want.values());
    let forward = |size: &[&'static str]| {
        let arguments = ["forward", "--device", "cpu", "--model", text(&case), "--input", text(&pixels), "--output", text(&output)];
        vitraux(arguments.iter().chain(size).map(OsStr::new))
    };
    for size in [["--image-size", "96", "64"].as_slice(), &[]] {
        assert_eq!(forward(size).code, 0);
        let (got, want) = (open_tensor(&output, "logits").expect("logits"), open_tensor(&expected, "logits").expect("logits"));
        assert!(crate::support::compare::largest_difference(&got.values(), &want.values()) <= 2e-5);
    }
    let other = forward(&["--image-size", "64", "64"]);
    assert_eq!((other.code, other.errors()), (1, vec!["error: --image-size is 64 x 64, but pixel_values are 96 x 64"]));
    let inspect = |height, width| run(["inspect", "--model", text(&case), "--image-size", height, width]);
    assert!(inspect("96", "64").stdout.contains("97 = 1 prefix + 12 x 8 patches"), "{}", inspect("96", "64").stdout);
    assert!(inspect("96", "60").errors()[0].contains("do not divide"), "{}", inspect("96", "60").stderr);
    assert_eq!(inspect("0", "60").code, 2);
    assert_eq!(run(["inspect", "--image-size", "64", "64"]).code, 1, "the built-in model has one size");
    let classified = run(["classify", "--device", "cpu", "--model", text(&case), "--image-size", "48", "112", text(&image)]);
    assert_eq!((classified.code, classified.stdout.lines().count()), (0, 6), "{}", classified.stderr);
}

/// Classifiers in files of their own.
#[test]
fn classifier_heads_load_from_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [pets, output] = ["pets.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let weight = vec![0.25f32; 2 * 48];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 48], bytemuck::cast_slice(&weight)).expect("a tensor");
    let labels = [("labels".to_owned(), r#"["cat", "dog"]"#.to_owned())].into();
    safetensors::serialize_to_file([("weight", view)], Some(labels), &pets).expect("a file");
    let case = path("tests/fixtures/cases/timm_vit_tiny");
    let image = case.join("image.png");
    let classify =
        |more: &[&str]| vitraux(["classify", "--device", "cpu", "--model", text(&case)].iter().chain(more).chain(&[text(&image)]).map(OsStr::new));
    let named = format!("pets={}", text(&pets));
    assert_eq!(classify(&["--head", "none"]).code, 1);
    let replaced = classify(&["--head", text(&pets)]).stdout;
    assert!(replaced.lines().count() == 3 && replaced.contains("cat"), "{replaced}");
    let both = classify(&["--head", &named, "--top", "1"]).stdout;
    assert!(both.lines().count() == 4 && both.contains("\n  pets\n"), "{both}");
    let json: Value = serde_json::from_str(&classify(&["--format", "json", "--head", &named, "--top", "2"]).stdout).expect("JSON");
    assert_eq!((json["top"].as_array().map(Vec::len), json["heads"]["pets"].as_array().map(Vec::len)), (Some(2), Some(2)));
    // What is dropped is dropped first, wherever it stands.
    let only: Value = serde_json::from_str(&classify(&["--format", "json", "--head", &named, "--head", "none"]).stdout).expect("JSON");
    assert!(only["top"].is_null() && only["heads"]["pets"].is_array());
    let input = case.join("expected.safetensors");
    let arguments = ["forward", "--device", "cpu", "--model", text(&case), "--head", &named, "--input", text(&input), "--output", text(&output)];
    assert_eq!(vitraux(arguments.map(OsStr::new)).code, 0);
    assert_eq!(open_tensor(&output, "logits_pets").expect("logits").shape(), [2, 2]);
    assert!(open_tensor(&output, "logits").is_ok());
    for (head, words) in [("no/such/file", "no/such/file"), (text(&input), "expected one matrix"), ("a b=x", "no such file or folder")] {
        let wrong = classify(&["--head", head]);
        assert!(wrong.code == 1 && wrong.errors()[0].contains(words), "{}", wrong.stderr);
    }
    // A file may have an = in its name; and one head only can stand in for the model's own.
    let equal = folder.path().join("lr=0.1.safetensors");
    std::fs::copy(&pets, &equal).expect("a copy");
    assert!(classify(&["--head", text(&equal)]).stdout.contains("cat"));
    let two = classify(&["--head", text(&pets), "--head", text(&pets)]);
    assert!(two.code == 1 && two.errors()[0].contains("only one"), "{}", two.stderr);
    let nameless = classify(&["--head", "=x"]);
    assert!(nameless.code == 1 && nameless.errors()[0].contains("NAME=FILE"), "{}", nameless.stderr);
}

/// The encoder of 2017 takes embeddings, with positions or without, and gives its output; images are not for it.
#[test]
fn sequence_encoder_takes_embeddings_and_refuses_images() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [bare, output] = ["bare.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let case = path("tests/fixtures/cases/torch_postnorm_encoder");
    let expected = case.join("expected.safetensors");
    let embeddings = open_tensor(&expected, "embeddings").expect("embeddings").values().into_owned();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 17, 36], bytemuck::cast_slice(&embeddings)).expect("a tensor");
    safetensors::serialize_to_file([("embeddings", view)], None, &bare).expect("a file");
    for input in [&expected, &bare] {
        let run = run(["forward", "--device", "cpu", "--model", text(&case), "--input", text(input), "--output", text(&output), "--tap", "hidden.0"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        for name in ["output", "hidden.0"] {
            let (got, want) = (open_tensor(&output, name).expect(name), open_tensor(&expected, name).expect(name));
            assert!(crate::support::compare::largest_difference(&got.values(), &want.values()) <= 3e-5, "{name}");
        }
    }
    // A mask of integers, as numpy has them, counts as one of truth values.
    let masked = |integers: bool| {
        let masked = folder.path().join("masked.safetensors");
        let padding: Vec<i64> = (0..34).map(|index| i64::from(index % 17 > 11)).collect();
        let bytes: Vec<u8> = padding.iter().map(|&value| value as u8).collect();
        let (dtype, data) =
            if integers { (safetensors::Dtype::I64, bytemuck::cast_slice(&padding)) } else { (safetensors::Dtype::BOOL, bytes.as_slice()) };
        let mask = safetensors::tensor::TensorView::new(dtype, vec![2, 17], data).expect("a mask");
        let embeddings =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 17, 36], bytemuck::cast_slice(&embeddings)).expect("a tensor");
        safetensors::serialize_to_file([("embeddings", embeddings), ("key_padding_mask", mask)], None, &masked).expect("a file");
        assert_eq!(run(["forward", "--device", "cpu", "--model", text(&case), "--input", text(&masked), "--output", text(&output)]).code, 0);
        open_tensor(&output, "output").expect("an output").values().into_owned()
    };
    assert_eq!(masked(true), masked(false));
    for shape in [vec![0, 1 << 28, 36], vec![0, 5, 1 << 28], vec![0, 5, 36], vec![36]] {
        let nothing = vec![0.0f32; shape.iter().product()];
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytemuck::cast_slice(&nothing)).expect("a tensor");
        safetensors::serialize_to_file([("embeddings", view)], None, &bare).expect("a file");
        let run = run(["forward", "--device", "cpu", "--model", text(&case), "--input", text(&bare), "--output", text(&output)]);
        assert_eq!((run.code, run.errors().len()), (1, 1), "{}", run.stderr);
    }
    let inspected = run(["inspect", "--model", text(&case)]);
    assert!(inspected.stdout.contains("up to 64 embeddings"), "{}", inspected.stdout);
    let image = run(["classify", "--model", text(&case), text_of_sample()]);
    assert!(image.code == 1 && image.errors()[0].contains("no classes"), "{}", image.stderr);
    let prepared = run(["preprocess", "--model", text(&case), "--output", text(&output), text_of_sample()]);
    assert!(prepared.code == 1 && prepared.errors()[0].contains("takes embeddings"), "{}", prepared.stderr);
}

#[test]
fn preprocess_stacks_images() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("pixels.safetensors");
    let case = path("tests/fixtures/cases/timm_vit_tiny");
    let [first, second] = ["image.png", "image2.png"].map(|name| case.join(name));
    let run = run(["preprocess", "--model", text(&case), "--output", text(&output), text(&first), text(&second)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let got: Tensor = open_tensor(&output, "pixel_values").expect("pixel values");
    let want = open_tensor(case.join("expected.safetensors"), "pixel_values").expect("pixel values");
    assert_eq!((got.shape(), got.values()), (want.shape(), want.values()));
}

#[test]
fn devices_lists_adapters_and_the_cpu() {
    let text = run(["devices"]);
    assert!(text.stdout.lines().any(|line| line.starts_with("cpu  ")), "{}", text.stdout);
    let json = run(["devices", "--format", "json"]);
    let list: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let list = list.as_array().expect("a list");
    assert_eq!(list.last().expect("the CPU")["kind"], "cpu");
    if gpu::device().is_some() {
        assert!(list.len() > 1 && list[0]["binding_bytes"].as_u64().expect("bytes") >= 1 << 27);
    }
    let missing = run(["classify", "--device", "no such adapter", text_of_sample()]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
}

fn text_of_sample() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits/samples/printed-2.png")
}

/// Weights in fewer bits are another computation, and a near one.
#[test]
fn forward_precision_option_stays_close_to_f32() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let case = path("tests/fixtures/cases/timm_vit_tiny");
    let features = |precision: &str| {
        let output = folder.path().join(format!("{precision}.safetensors"));
        let input = case.join("expected.safetensors");
        let run =
            run(["forward", "--device", "cpu", "--precision", precision, "--model", text(&case), "--input", text(&input), "--output", text(&output)]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        open_tensor(&output, "features").expect("features").values().into_owned()
    };
    let apart = |precision| crate::support::compare::largest_difference(&features("f32"), &features(precision));
    let [f16, bf16, int8] = ["f16", "bf16", "int8"].map(apart);
    assert!(1e-5 < f16 && f16 < bf16 && bf16 < 2e-2 && bf16 < int8 && int8 < 1e-1, "{f16} {bf16} {int8}");
    let auto = match vitraux::Device::cpu().capabilities() {
        capabilities if capabilities.bf16 => bf16,
        capabilities if capabilities.int16 => f16,
        _ => 0.0,
    };
    assert_eq!(apart("auto"), auto, "bf16 on processors that multiply it, f16 on those that multiply 16-bit integers, else f32");
    let wrong = run(["forward", "--precision", "f8", "--model", text(&case), "--input", "x", "--output", "y"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("[possible values: auto, f32, f16, bf16, int8]"), "{}", wrong.stderr);
}

#[test]
fn inspect_counts_parameters_and_bytes() {
    let case = path("tests/fixtures/cases/timm_test_vit_hubconfig");
    let json = run(["inspect", "--model", text(&case), "--format", "json", "--batch", "4"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {}", json.stderr));
    assert_eq!(value["name"], "test_vit");
    // Factors are padded to whole panels of 64 columns.
    assert!(value["weight_bytes"].as_u64() >= value["parameters"].as_u64().map(|count| count * 4));
    let one: Value = serde_json::from_str(&run(["inspect", "--model", text(&case), "--format", "json"]).stdout).expect("JSON");
    assert_eq!(value["scratch_bytes"].as_u64(), one["scratch_bytes"].as_u64().map(|bytes| bytes * 4));
    // Large batches are cut.
    let many: Value = serde_json::from_str(&run(["inspect", "--model", text(&case), "--format", "json", "--batch", "65536"]).stdout).expect("JSON");
    let images = many["pass_images"].as_u64().expect("a number");
    assert!(images < 1024, "{many}");
    assert_eq!(many["scratch_bytes"].as_u64(), one["scratch_bytes"].as_u64().map(|bytes| bytes * images));
    let text = run(["inspect"]);
    assert!(text.stdout.contains("parameters  206026"), "{}", text.stdout);
}

/// A pipe is written to, not replaced; a folder is refused before any work; a file is left whole or not at all.
#[test]
fn output_refuses_folders_and_writes_to_pipes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let preprocess = |output: &str| run(["preprocess", "--output", output, text_of_sample()]);
    for (wrong, why) in [(text(folder.path()), "found a folder"), ("no/such/folder/out.safetensors", "no such folder"), ("..", "found a folder")] {
        let run = preprocess(wrong);
        assert_eq!((run.code, run.errors().len()), (1, 1), "{wrong}: {}", run.stderr);
        assert!(run.errors()[0].contains(why), "{wrong}: {}", run.stderr);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).expect("a pipe").len()
        });
        assert_eq!(preprocess(text(&pipe)).code, 0);
        // Were it replaced, nobody would write to the pipe that the reader waits for.
        assert!(std::fs::metadata(&pipe).expect("it is still there").file_type().is_fifo());
        assert!(reader.join().expect("the reader ends") > 4096);
    }
}

#[test]
fn user_errors_print_one_line() {
    let missing = run(["classify", "no/such/image.png"]);
    assert_eq!((missing.code, missing.errors()), (1, vec!["error: no/such/image.png: no such file or folder"]));
    let folder = run(["classify", "--model", "no/such/folder", text_of_sample()]);
    assert_eq!(folder.code, 1);
    assert!(folder.errors()[0].contains("no/such/folder: no such folder"), "{}", folder.stderr);
    assert_eq!(run(["classify", "--device", "", text_of_sample()]).code, 1);
    assert_eq!(run(["inspect", "--batch", "1000000000"]).code, 2);
    assert_eq!(run(["classify"]).code, 2);
    assert_eq!(run(["classify", "--top", "0", text_of_sample()]).code, 2);
    assert_eq!(run(["--no-such-option"]).code, 2);
}

#[test]
fn completions_and_man_pages_cover_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]);
        assert_eq!(script.code, 0, "{}", script.stderr);
        assert!(script.stdout.contains("classify") && script.stdout.contains("resume"), "{shell}");
    }
    let page = run(["man"]);
    assert!(page.stdout.contains(".TH vitraux") && page.stdout.contains("vitraux\\-classify"), "{}", page.stdout);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(["man", "--output", text(folder.path())]).code, 0);
    let pages: Vec<_> = folder.path().read_dir().expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    for name in ["vitraux.1", "vitraux-classify.1", "vitraux-embed.1", "vitraux-bench-model.1"] {
        assert!(pages.iter().any(|page| page == name), "{name} of {pages:?}");
    }
}

#[test]
fn quiet_flag_and_device_variable_are_honoured() {
    let said = |run: &crate::support::cli::Run| run.stderr.lines().filter(|line| !line.contains("XDG_RUNTIME_DIR")).count();
    let image = text_of_sample();
    let usual = run(["classify", "--device", "cpu", image]);
    assert!(usual.stderr.contains("device: cpu (as requested)"), "{}", usual.stderr);
    let quiet = run(["classify", "--quiet", "--device", "cpu", image]);
    assert_eq!((quiet.code, said(&quiet)), (0, 0), "{}", quiet.stderr);
    assert_eq!(run(["-q", "-v", "classify", image]).code, 2);
    let mut command = program();
    command.args(["classify", image]).env("VITRAUX_DEVICE", "cpu");
    assert!(crate::support::cli::run(command).stderr.contains("device: cpu (as requested)"));
    let help = run(["--help"]).stdout;
    assert!(help.contains("Examples:") && help.contains("VITRAUX_DEVICE"), "{help}");
}
