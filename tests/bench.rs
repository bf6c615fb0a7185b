//! `vitraux bench` as people call it.

use crate::support::cli::vitraux;
use crate::support::{gpu, path};
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsStr;
use vitraux::Precision;
use vitraux::low_level::kernels::variants;
use vitraux::low_level::record::TuningKey;

fn json(arguments: &[&str]) -> Value {
    let run = vitraux(arguments.iter().map(OsStr::new));
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

fn devices() -> Vec<&'static str> {
    std::iter::once("cpu").chain(gpu::device().map(|_| "gpu")).collect()
}

fn seconds(value: &Value) -> f64 {
    value["speed"]["seconds"].as_f64().expect("a time")
}

#[test]
fn bench_model_reports_times_per_batch_and_step() {
    for device in devices() {
        let value = json(&["bench", "model", "--device", device, "--runs", "3", "--batch", "1", "--batch", "4", "--format", "json"]);
        assert!(value["ceilings"]["flops_per_second"].as_f64().is_some_and(|rate| rate > 1e8), "{value}");
        assert!(value["ceilings"]["bytes_per_second"].as_f64().is_some_and(|rate| rate > 1e7), "{value}");
        let batches = value["batches"].as_array().expect("a list");
        assert_eq!(batches.iter().map(|batch| batch["batch"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(4)]);
        for batch in batches {
            let [p10, median, p90] = ["p10_seconds", "median_seconds", "p90_seconds"].map(|name| batch[name].as_f64().expect("a time"));
            assert!(0.0 < p10 && p10 <= median && median <= p90, "{batch}");
            let steps = batch["steps"].as_array().expect("a list");
            let calls = |step: &str| steps.iter().filter(|found| found["step"] == step).filter_map(|found| found["calls"].as_u64()).sum::<u64>();
            // The digits model has four blocks, and a norm behind them.
            assert_eq!([calls("attention"), calls("mlp2"), calls("norm"), calls("head")], [4, 4, 1, 1], "{batch}");
            assert!(steps.iter().all(|step| seconds(step) > 0.0), "{batch}");
        }
    }
}

#[test]
fn bench_model_reports_accuracy_relative_to_f32() {
    for device in devices() {
        let arguments = ["bench", "model", "--device", device, "--runs", "1", "--accuracy", "--format", "json", "--precision"];
        let accuracy = |precision| json(&[&arguments[..], &[precision]].concat())["accuracy"].clone();
        let (wide, narrow) = (accuracy("f32"), accuracy("f16"));
        assert_eq!((wide["worst_error"].as_f64(), &wide["best_class_alike"], &wide["images"]), (Some(0.0), &7.into(), &7.into()), "{wide}");
        let [worst, mean] = ["worst_error", "mean_error"].map(|name| narrow[name].as_f64().expect("a share"));
        assert!(0.0 < mean && mean < worst && worst < 2e-2, "{narrow}");
    }
}

#[test]
fn bench_model_compares_given_images_tap_by_tap() {
    let (samples, case) = (path("examples/digits/samples"), path("tests/fixtures/cases/hf_deit_model"));
    let compare = |more: &[&str]| {
        let arguments = ["bench", "model", "--device", "cpu", "--runs", "1", "--precision", "int8", "--accuracy"];
        vitraux([&arguments[..], more].concat().into_iter().map(OsStr::new))
    };
    let run = compare(&["--taps", "--format", "json", "--images", samples.to_str().expect("UTF-8")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let accuracy = serde_json::from_str::<Value>(&run.stdout).expect("JSON")["accuracy"].clone();
    assert_eq!(accuracy["images"], 8, "{accuracy}");
    let error = |tap: &str| accuracy["taps"][tap]["worst_error"].as_f64().expect("an error");
    assert!(error("embeddings") == 0.0 && 0.0 < error("hidden.0") && error("hidden.0") < error("hidden.1") && error("logits") < 5e-2, "{accuracy}");
    // Nothing is said of classes that a model does not have.
    let run = compare(&["--model", case.to_str().expect("UTF-8")]);
    assert!(run.code == 0 && run.stdout.contains("compared with f32") && !run.stdout.contains("top class"), "{}{}", run.stdout, run.stderr);
    assert_eq!(compare(&["--images", "no-such-image.png"]).code, 1);
    let without = ["bench", "model", "--device", "cpu", "--images", "x.png"].map(OsStr::new);
    assert_eq!(vitraux(without).code, 2);
}

#[test]
fn bench_prints_what_it_measured_before_an_error() {
    let list = ["bench", "model", "--device", "cpu", "--runs", "1", "--architecture", "test_vit,vit_of_nobody", "--format"];
    for format in ["md", "csv", "json"] {
        let run = vitraux([&list[..], &[format]].concat().into_iter().map(OsStr::new));
        assert!(run.code == 1 && run.stdout.contains("test_vit") && run.errors()[0].contains("vit_of_nobody"), "{}{}", run.stdout, run.stderr);
    }
    let run = vitraux(["bench", "model", "--device", "cpu", "--runs", "1", "--max-image-memory", "9"].map(OsStr::new));
    assert!(run.code == 1 && run.errors()[0].contains("expected --accuracy"), "{}", run.stderr);
    // Images are looked for first.
    let run = vitraux(["bench", "model", "--device", "cpu", "--runs", "1", "--accuracy", "--images", "none.png"].map(OsStr::new));
    assert!(run.code == 1 && run.stdout.is_empty() && !run.stderr.contains("device:"), "{}{}", run.stdout, run.stderr);
    let texts = path("tests/fixtures/cases/hf_clip_text_proj");
    for command in ["model", "kernels"] {
        let run =
            vitraux([OsStr::new("bench"), OsStr::new(command), OsStr::new("--device"), OsStr::new("cpu"), OsStr::new("--model"), texts.as_os_str()]);
        assert!(run.code == 1 && run.errors()[0].contains("takes texts; expected a model of images"), "{}", run.stderr);
    }
}

#[test]
fn bench_prints_lists_of_models_and_precisions_as_one_table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |format: &str, more: &[&str]| {
        let lists = ["bench", "model", "--device", "cpu", "--runs", "2", "--precision", "f32,f16", "--batch", "1,2", "--format", format];
        let run = vitraux([&lists[..], more].concat().into_iter().map(OsStr::new));
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout
    };
    let csv = run("csv", &[]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert!(reader.headers().expect("a header").iter().take(6).eq(["model", "device", "precision", "batch", "ms", "± ms"]), "{csv}");
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
    assert!(rows.iter().map(|row| (&row[2], &row[3])).eq([("f32", "1"), ("f32", "2"), ("f16", "1"), ("f16", "2")]), "{csv}");
    assert!(rows.iter().all(|row| row.iter().skip(3).all(|cell| cell.parse::<f64>().is_ok())), "{csv}");
    let markdown = run("md", &[]);
    assert!(markdown.lines().count() == 6 && markdown.lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{markdown}");
    // Each precision is compared with its own baseline.
    let old = folder.path().join("old.json");
    std::fs::write(&old, run("json", &[])).expect("written");
    let again = run("json", &["--compare", old.to_str().expect("a path in UTF-8")]);
    let changes = again.lines().flat_map(|line| serde_json::from_str::<Value>(line).expect("JSON")["batches"].as_array().expect("a list").clone());
    assert_eq!(changes.filter(|batch| batch["change"]["verdict"].is_string()).count(), 4, "{again}");
}

/// Every variant that the device can run is there, and an edited shader beside the built-in one.
#[test]
fn bench_kernels_measures_every_variant_and_edited_shaders() {
    let Some(gpu) = gpu::device() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [common, matmul] = ["common", "matmul"].map(|name| folder.path().join(name));
    [&common, &matmul].into_iter().for_each(|folder| std::fs::create_dir(folder).expect("a folder"));
    let shader = |name: &str| std::fs::read_to_string(path("shaders").join(name)).expect("a shader");
    std::fs::write(matmul.join("naive.wgsl"), shader("matmul/naive.wgsl")).expect("written");
    std::fs::write(folder.path().join("layernorm.wgsl"), shader("layernorm.wgsl")).expect("written");
    std::fs::write(common.join("reduce.wgsl"), shader("common/reduce.wgsl").replace("half > 0u", "half > 1u")).expect("written");
    let folder = folder.path().to_str().expect("a path in UTF-8");
    let value = json(&["bench", "kernels", "--device", "gpu", "--runs", "1", "--shader-dir", folder, "--format", "json"]);
    let rows = value["kernels"].as_array().expect("a list");
    assert!(rows.iter().all(|row| seconds(row) > 0.0));
    let found = |name: &'static str| rows.iter().filter(move |row| row["kernel"] == name);
    let mut measured: HashSet<String> = HashSet::new();
    for precision in ["f32", "f16", "bf16", "int8"] {
        let value = json(&["bench", "kernels", "--device", "gpu", "--runs", "1", "--precision", precision, "--format", "json"]);
        let rows = value["kernels"].as_array().expect("a list");
        assert!(rows.iter().all(|row| seconds(row) > 0.0));
        measured.extend(rows.iter().map(|row| row["kernel"].as_str().expect("a name").to_owned()));
    }
    let capabilities = gpu.summary().capabilities;
    let (x, w) = ([Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8], Precision::F32);
    let products = x.into_iter().flat_map(|precision| variants(TuningKey::product([1, 96, 384], [w, precision], &capabilities), &capabilities));
    let attention = variants(TuningKey::attention(3, [65, 65], 32, Precision::F32, &capabilities), &capabilities);
    for variant in products.chain(attention) {
        assert!(measured.contains(variant.name), "{} of {measured:?}", variant.name);
    }
    let apart = |name| found(name).map(|row| row["apart"].as_f64().expect("a difference")).fold(0.0, f64::max);
    assert!(found("matmul_naive, edited").count() > 0 && apart("matmul_naive, edited") == 0.0);
    assert!(apart("layernorm, edited") > 0.01, "a reduction that leaves out half is noticed");
}

#[test]
fn bench_kernels_rejects_broken_or_missing_shaders() {
    if gpu::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nowhere = folder.path().join("nowhere");
    let unknown = vitraux(["bench", "kernels", "--device", "gpu", "--filter", "nosuch"].map(OsStr::new));
    assert!(unknown.code == 1 && unknown.errors()[0].contains("no kernel or step name contains this"), "{}", unknown.stderr);
    for (folder, words) in [(nowhere.as_path(), "expected a folder"), (folder.path(), "found none for a kernel")] {
        let folder = folder.to_str().expect("a path in UTF-8");
        let run = vitraux(["bench", "kernels", "--device", "gpu", "--filter", "pool", "--shader-dir", folder].map(OsStr::new));
        assert!(run.code == 1 && run.errors().iter().any(|line| line.contains(words)), "{}", run.stderr);
    }
    let text = folder.path().to_str().expect("a path in UTF-8");
    for (contents, words) in [("fn other() {}", "expected the entry point pool"), ("@compute fn pool(", "parsing error")] {
        std::fs::write(folder.path().join("pool.wgsl"), contents).expect("written");
        let run = vitraux(["bench", "kernels", "--device", "gpu", "--filter", "pool", "--shader-dir", text].map(OsStr::new));
        assert_eq!(run.code, 1, "{}", run.stdout);
        assert!(run.errors().iter().any(|line| line.contains(words)), "{}", run.stderr);
    }
}

/// The same file with all times multiplied.
fn scaled(value: &Value, list: &str, factor: f64) -> Value {
    let mut value = value.clone();
    for row in value[list].as_array_mut().expect("a list") {
        for key in ["p10_seconds", "median_seconds", "p90_seconds", "p99_seconds"] {
            row[key] = (row[key].as_f64().expect("a time") * factor).into();
        }
    }
    value
}

#[test]
fn bench_compare_reports_changes_beyond_noise() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("old.json");
    let old = file.to_str().expect("a path in UTF-8");
    let model = ["bench", "model", "--device", "cpu", "--runs", "5", "--batch", "1", "--batch", "2", "--format", "json"];
    let kernels = ["bench", "kernels", "--device", "cpu", "--runs", "5", "--filter", "mlp", "--format", "json"];
    for (list, arguments) in [("batches", &model[..]), ("kernels", &kernels[..])] {
        let first = json(arguments);
        // A thousandth and a thousand times of it are beyond any machine's noise.
        for (factor, verdict) in [(0.001, "slower"), (1000.0, "faster")] {
            std::fs::write(&file, scaled(&first, list, factor).to_string()).expect("written");
            let second = json(&[arguments, &["--compare", old]].concat());
            for row in second[list].as_array().expect("a list") {
                assert_eq!(row["change"]["verdict"], verdict, "{row}");
                let [ratio, before, median] = [&row["change"]["time_ratio"], &row["change"]["median_seconds_before"], &row["median_seconds"]]
                    .map(|value| value.as_f64().expect("a number"));
                assert!((ratio * before / median - 1.0).abs() < 1e-9, "{row}");
            }
        }
        let text: Vec<&str> = arguments.iter().map(|argument| if *argument == "json" { "text" } else { argument }).collect();
        let run = vitraux([&text[..], &["--compare", old]].concat().into_iter().map(OsStr::new));
        assert!(run.stdout.contains("ms before: faster"), "{}", run.stdout);
    }
    // What was not measured then has no verdict; what is of another model, or no measurement, is refused.
    let one = json(&["bench", "model", "--device", "cpu", "--runs", "1", "--batch", "3", "--format", "json"]);
    std::fs::write(&file, one.to_string()).expect("written");
    assert!(json(&[&model[..], &["--compare", old]].concat())["batches"].as_array().expect("a list").iter().all(|row| row["change"].is_null()));
    let other_batch = vitraux([&model[..], &["--compare", old]].concat().into_iter().map(OsStr::new));
    assert!(other_batch.stderr.contains("no baseline for 2 of 2 rows"), "{}", other_batch.stderr);
    let narrow = vitraux([&model[..], &["--compare", old, "--precision", "f16"]].concat().into_iter().map(OsStr::new));
    assert!(narrow.stderr.contains(r#"the precision was "f32" and is now "f16""#), "{}", narrow.stderr);
    let fixture = path("tests/fixtures/cases/hf_vit_cls");
    let other = ["bench", "model", "--device", "cpu", "--runs", "1", "--compare", old, "--model", fixture.to_str().expect("a path in UTF-8")];
    for (contents, arguments, words) in [
        (one.to_string(), &other[..], "found that for"),
        (one.to_string(), &[&kernels[..], &["--compare", old]].concat()[..], "found no kernels"),
        ("no JSON".to_owned(), &[&model[..], &["--compare", old]].concat()[..], "found invalid JSON"),
        (scaled(&one, "batches", 1e300).to_string(), &["bench", "model", "--batch", "3", "--device", "cpu", "--compare", old][..], "violate p10"),
        (
            serde_json::json!({ "paces": [[0.0, 1.0]], "name": one["name"], "encoder": one["encoder"], "batches": one["batches"] }).to_string(),
            &["bench", "model", "--batch", "3", "--device", "cpu", "--compare", old][..],
            "found a pace of 0",
        ),
        (scaled(&one, "batches", -1.0).to_string(), &["bench", "model", "--batch", "3", "--device", "cpu", "--compare", old][..], "violate p10"),
    ] {
        std::fs::write(&file, contents).expect("written");
        let run = vitraux(arguments.iter().map(OsStr::new));
        assert!(run.code == 1 && run.errors().iter().any(|line| line.contains(words)), "{words}: {}", run.stderr);
    }
}

#[test]
fn bench_memory_scales_with_batch_except_weights() {
    let value = json(&["bench", "model", "--device", "cpu", "--runs", "1", "--batch", "1", "--batch", "8", "--format", "json"]);
    let bytes = |batch: usize, key: &str| value["batches"][batch][key].as_u64().expect("bytes");
    let inspected = json(&["inspect", "--batch", "8", "--format", "json"]);
    assert_eq!([bytes(0, "weight_bytes"), bytes(1, "weight_bytes")].map(Some), [inspected["weight_bytes"].as_u64(); 2]);
    assert!(bytes(1, "pass_bytes") > 7 * bytes(0, "pass_bytes") && bytes(1, "pass_bytes") < 8 * bytes(0, "pass_bytes") + 1);
}
