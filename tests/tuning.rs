//! Tables of kernels: measured, kept, shipped, overridden.

use crate::support::cli::{Run, program, run};
use crate::support::{compare::largest_difference, gpu};
use serde_json::Value;
use std::path::Path;
use vitraux::Tuning;
use vitraux::low_level::capabilities::{Capabilities, Precision};
use vitraux::low_level::kernels;
use vitraux::low_level::kernels::SampleEpilogue;
use vitraux::low_level::record::{Command as Step, Recording, TuningKey};
use vitraux::{Checkpoint, Device, Model, Tensor};

fn key(capabilities: &Capabilities) -> TuningKey {
    TuningKey::product([50, 64, 32], [Precision::F32; 2], capabilities)
}

/// A device to tune for, and a folder for its table.
fn device_and_folder() -> Option<(Device, tempfile::TempDir)> {
    Some((Device::from(gpu::device()?), tempfile::tempdir().expect("a temporary folder")))
}

/// The variant that a product of the key is recorded by.
fn recorded(capabilities: Capabilities, tuning: &Tuning) -> String {
    let mut recording = Recording::new(capabilities).with_choices(tuning.choices());
    kernels::sample(&mut recording, key(&capabilities), SampleEpilogue::Bias).expect("it fits");
    let dispatch = recording.commands().iter().find_map(|step| if let Step::Dispatch(dispatch) = step { Some(dispatch) } else { None });
    let dispatch = dispatch.expect("it dispatches");
    dispatch.kernel.name.to_owned()
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("the table is written")).expect("it is JSON")
}

#[test]
fn tuning_table_is_measured_saved_and_applied() {
    let Some((device, folder)) = device_and_folder() else { return };
    let capabilities = device.capabilities();
    let file = folder.path().join("new").join("table.json");
    let mut tuning = Tuning::kept_at(&file, &device);
    tuning.measure(&device, &[key(&capabilities)], &|done, of| assert_eq!([done, of], [1, 1]));
    tuning.save().expect("it is written");
    let name = key(&capabilities).to_string();
    let mut table = read(&file);
    let found = &table["keys"][&name];
    let milliseconds = found["milliseconds"].as_object().expect("times");
    assert_eq!(milliseconds.len(), kernels::variants(key(&capabilities), &capabilities).len(), "{found}");
    let variant = found["variant"].as_str().expect("a name");
    let fastest = milliseconds.values().filter_map(Value::as_f64).fold(f64::INFINITY, f64::min);
    assert!(milliseconds[variant].as_f64().is_some_and(|own| fastest > 0.0 && own <= fastest / 0.97), "{found}");
    // What another program reads, or this one writes again, chooses the same.
    for again in [Tuning::kept_at(&file, &device), Tuning::open(&file).expect("a table")] {
        assert_eq!(recorded(capabilities, &again), recorded(capabilities, &tuning));
        assert_eq!(again.to_string(), tuning.to_string());
    }
    // Edited by hand.
    for variant in ["matmul_32x32x32", "matmul_skinny", "matmul_64x64x16_split4"] {
        table["keys"][&name]["variant"] = variant.into();
        std::fs::write(&file, table.to_string()).expect("written");
        assert_eq!(recorded(capabilities, &Tuning::open(&file).expect("a table")), variant);
    }
    // No variant was right; a name of another version, or of what this device cannot run.
    for variant in ["", "matmul_of_tomorrow", "matmul_int8_64x64x8", "matmul_coop8_32x32x16_by_2x2"] {
        table["keys"][&name]["variant"] = variant.into();
        std::fs::write(&file, table.to_string()).expect("written");
        assert_eq!(recorded(capabilities, &Tuning::open(&file).expect("a table")), recorded(capabilities, &Tuning::built_in()));
    }
}

/// Concurrent runs keep each other's keys.
#[test]
fn tuned_keys_of_other_runs_are_kept() {
    let Some((device, folder)) = device_and_folder() else { return };
    let capabilities = device.capabilities();
    let file = folder.path().join("table.json");
    let mut runs = [Tuning::kept_at(&file, &device), Tuning::kept_at(&file, &device)];
    for (run, m) in runs.iter_mut().zip([50, 60]) {
        run.measure(&device, &[TuningKey::product([m, 64, 32], [Precision::F32; 2], &capabilities)], &|_, _| ());
        run.save().expect("it is written");
    }
    assert_eq!(read(&file)["keys"].as_object().map(|keys| keys.len()), Some(2));
}

#[test]
fn correct_variants_are_found_in_every_precision() {
    let Some((device, folder)) = device_and_folder() else { return };
    let capabilities = device.capabilities();
    let file = folder.path().join("table.json");
    let (f32, f16) = (Precision::F32, Precision::F16);
    for (number, [x, w]) in [[f32, f32], [f32, f16], [f16, f16], [f32, Precision::Bf16], [f32, Precision::Int8]].into_iter().enumerate() {
        let key = TuningKey::product([50, 64, 100], [x, w], &capabilities);
        let mut tuning = Tuning::kept_at(&file, &device);
        assert!(tuning.measure(&device, &[key], &|_, _| ()).is_empty(), "{key}");
        tuning.save().expect("it is written");
        let table = read(&file);
        assert_eq!(table["keys"].as_object().map(|keys| keys.len()), Some(number + 1));
        assert!(table["keys"][&key.to_string()]["rejected"].is_null(), "{key}: {}", table["keys"][&key.to_string()]);
    }
}

#[test]
fn tuning_tables_of_others_are_replaced_and_other_files_kept() {
    let Some((device, folder)) = device_and_folder() else { return };
    let capabilities = device.capabilities();
    let file = folder.path().join("table.json");
    // One that would choose otherwise.
    let found = serde_json::json!({ "variant": "matmul_32x32x32", "milliseconds": { "matmul_32x32x32": 1.0 } });
    let other = serde_json::json!({ "vitraux": "0.0.1", "adapter": "another", "keys": { key(&capabilities).to_string(): found } }).to_string();
    let older = br#"{ "vitraux": "0.0.1", "tables": [] }"#;
    for contents in [&b""[..], older, other.as_bytes()] {
        std::fs::write(&file, contents).expect("written");
        let mut tuning = Tuning::kept_at(&file, &device);
        assert_eq!(recorded(capabilities, &tuning), recorded(capabilities, &Tuning::built_in()));
        tuning.measure(&device, &[key(&capabilities)], &|done, of| assert_eq!([done, of], [1, 1]));
        tuning.save().expect("it is written");
        assert_eq!(read(&file)["keys"].as_object().map(|keys| keys.len()), Some(1));
    }
    for contents in [&b"{"[..], b"[1, 2]", b"\xff\xfe", b"root:x:0:0"] {
        std::fs::write(&file, contents).expect("written");
        let tuning = Tuning::kept_at(&file, &device);
        assert_eq!(recorded(capabilities, &tuning), recorded(capabilities, &Tuning::built_in()));
        let error = tuning.save().expect_err("it would be lost").to_string();
        assert!(error.contains("table.json") && error.contains("not a tuning table"), "{error}");
        assert_eq!(std::fs::read(&file).expect("it is there"), contents);
        let error = Tuning::open(&file).expect_err("it is no table").to_string();
        assert!(error.contains("table.json") && error.contains("expected a tuning table"), "{error}");
    }
}

/// On hardware a model's first forward measures what is not known, and the second start does not.
#[test]
fn session_tunes_once_on_hardware_never_on_software() {
    let Some(software) = gpu::device() else { return };
    let hardware = gpu::smaller(|capabilities| capabilities.software = false).expect("the same adapter");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pixel_values = Tensor::new(vec![2, 1, 32, 32], (0..2048).map(|i| (i as f32 * 0.37).sin()).collect()).expect("a tensor");
    let logits = |gpu: &std::sync::Arc<vitraux::low_level::gpu::Gpu>, file: &Path| {
        let device = Device::from(gpu.clone());
        let mut session =
            Model::builder(Checkpoint::digits()).tuning(Tuning::kept_at(file, &device)).device(device).load_blocking().expect("a model").session();
        session.forward_blocking(&pixel_values, &["logits"]).expect("logits")["logits"].values().into_owned()
    };
    let (grown, unused) = (folder.path().join("grown.json"), folder.path().join("unused.json"));
    let keys = || read(&grown)["keys"].as_object().expect("keys").len();
    logits(&hardware, &grown);
    // Each start has half a second, in which it measures some.
    let mut known = keys();
    assert!(known > 0, "something is measured at once");
    let (mut starts, mut first) = (0, Vec::new());
    while starts == 0 || keys() > known {
        known = keys();
        first = logits(&hardware, &grown);
        starts += 1;
        assert!(starts < 20, "every start measures something new: {}", read(&grown));
    }
    let table = read(&grown);
    let found = table["keys"].as_object().expect("keys");
    assert!(found.len() >= 6 && found.keys().all(|key| key.starts_with("product f32xf32 M=")), "{table}");
    assert!(found.values().all(|found| found["milliseconds"].as_object().is_some_and(|times| times.len() <= 4)), "a handful of each: {table}");
    let second = logits(&hardware, &grown);
    assert_eq!(read(&grown), table, "nothing is measured twice");
    assert_eq!(first, second, "the same table, the same kernels");
    if software.summary().capabilities.software {
        let by_rule = logits(&software, &unused);
        assert!(!unused.exists());
        assert!(largest_difference(&first, &by_rule) <= 2e-5);
    }
}

fn vitraux(cache: &Path, arguments: &[&str]) -> Run {
    let mut command = program();
    command.args(arguments).env("XDG_CACHE_HOME", cache).env("HOME", cache).env("LOCALAPPDATA", cache);
    run(command)
}

#[test]
fn tune_command_measures_shows_and_applies_tables() {
    if gpu::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shipped = folder.path().join("shipped.json");
    let shipped_path = shipped.to_str().expect("UTF-8");
    let measured = vitraux(folder.path(), &["tune", "--device", "gpu", "--output", shipped_path]);
    assert_eq!(measured.code, 0, "{}", measured.stderr);
    assert!(
        measured.stdout.contains("* matmul") && measured.stdout.contains("attention f32") && measured.stdout.contains(" ms"),
        "{}",
        measured.stdout
    );
    let shown = vitraux(folder.path(), &["tune", "--device", "gpu", "--show"]);
    assert_eq!((shown.code, &shown.stdout), (0, &measured.stdout));
    let kept = shown.stderr.lines().find_map(|line| line.strip_prefix("table: ")).expect("it says where the table is");
    assert_eq!(read(Path::new(kept)), read(&shipped));
    // In the table that is given, everything is done by one kernel.
    let mut table = read(&shipped);
    for (key, found) in table["keys"].as_object_mut().expect("keys") {
        found["variant"] = if key.starts_with("product") { "matmul_32x32x32" } else { "attention_tiled" }.into();
    }
    std::fs::write(&shipped, table.to_string()).expect("written");
    let kernels = |arguments: &[&str]| -> Vec<String> {
        let run = vitraux(folder.path(), &[&["bench", "model", "--device", "gpu", "--runs", "1", "--format", "json"], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let value: Value = serde_json::from_str(&run.stdout).expect("JSON");
        value["batches"][0]["steps"].as_array().expect("steps").iter().map(|step| step["kernel"].as_str().expect("a name").to_owned()).collect()
    };
    let obeyed = kernels(&["--tuning", shipped_path]);
    assert!(obeyed.contains(&"matmul_32x32x32".to_owned()) && !obeyed.contains(&"matmul_software".to_owned()), "{obeyed:?}");
    assert!(!kernels(&["--no-tune"]).is_empty());
    let missing = vitraux(folder.path(), &["bench", "model", "--device", "gpu", "--tuning", "/nowhere/table.json"]);
    assert!(missing.code == 1 && missing.errors().iter().any(|line| line.contains("/nowhere/table.json")), "{}", missing.stderr);
    let cpu = vitraux(folder.path(), &["tune", "--device", "cpu"]);
    assert!(cpu.code == 1 && cpu.errors().iter().any(|line| line.contains("tuning needs a GPU")), "{}", cpu.stderr);
}
