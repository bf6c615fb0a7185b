//! Runs of the program on a driver that fails: a layer between the program and the driver loses the device, or refuses memory, after some calls.

use crate::support::cli::{Run, program, run};
use crate::support::serving::Serving;
use crate::support::{gpu, path};
use std::path::Path;
use std::process::Command;

const LAYER: &str = "VK_LAYER_VITRAUX_faults";

/// Builds the layer in a folder, unless there is no adapter of Vulkan.
fn build(folder: &Path) -> bool {
    let Some(gpu) = gpu::device() else { return false };
    if gpu.summary().backend != "Vulkan" {
        println!("SKIPPED: layers are Vulkan's, and the adapter is {}", gpu.summary());
        return false;
    }
    let library = folder.join("layer.so");
    let built = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition", "2024", "-o"])
        .args([&library, &path("tests/fixtures/faults/layer.rs")])
        .status();
    assert!(built.expect("a compiler").success());
    let manifest = serde_json::json!({"file_format_version": "1.1.0", "layer": {
        "name": LAYER, "type": "GLOBAL", "library_path": library, "api_version": "1.3.0", "implementation_version": "1", "description": "Fails calls",
    }});
    std::fs::write(folder.join("layer.json"), manifest.to_string()).expect("a manifest");
    true
}

/// Lets a command run on a driver that fails calls of one kind after some of them.
fn break_driver(command: &mut Command, folder: &Path, kind: &str, after: u32) {
    command.env("VK_LAYER_PATH", folder).env("VK_INSTANCE_LAYERS", LAYER);
    command.env("VITRAUX_FAULT", kind).env("VITRAUX_FAULT_AFTER", after.to_string());
}

/// Embeds the samples in batches of two, on a driver that fails calls of one kind after some of them.
fn embed(folder: &Path, name: &str, fault: Option<(&str, u32)>, more: &[&str]) -> Run {
    let mut command = program();
    command.args(["embed", "--device", "gpu", "--no-tune", "--batch", "2", "--output"]).arg(folder.join(name)).args(more);
    command.arg(path("examples/digits/samples"));
    if let Some((kind, after)) = fault {
        break_driver(&mut command, folder, kind, after);
    }
    run(command)
}

/// Whenever the device is lost, the lines of the batches before are whole, and a second run adds exactly those that are missing.
#[test]
fn runs_on_a_device_that_is_lost_can_be_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if !build(folder) {
        return;
    }
    let outputs = ["jsonl", "npy"].map(|extension| {
        let name = format!("whole.{extension}");
        assert_eq!(embed(folder, &name, None, &[]).code, 0);
        (extension, std::fs::read(folder.join(name)).expect("an output"))
    });
    for (extension, whole) in outputs {
        let (mut losses, mut parts) = (0, 0);
        for after in 0..7 {
            let name = format!("{after}.{extension}");
            let lost = embed(folder, &name, Some(("lost", after)), &[]);
            let file = folder.join(&name);
            if lost.code == 0 {
                assert_eq!(std::fs::read(&file).expect("an output"), whole, "{name}");
                continue;
            }
            losses += 1;
            assert_eq!(lost.code, 1, "{}", lost.stderr);
            let errors = lost.errors();
            assert!(matches!(errors[..], [error] if error.contains("device lost") && error.contains("--resume")), "{name}: {errors:?}");
            if extension == "jsonl" {
                let lines = std::fs::read(&file).expect("lines");
                assert!(whole.starts_with(&lines) && lines.last().is_none_or(|last| *last == b'\n'), "{name}");
                parts += usize::from(!lines.is_empty());
            } else {
                assert!(!file.exists(), "{name} is incomplete");
            }
            assert_eq!(embed(folder, &name, None, &["--resume"]).code, 0);
            assert_eq!(std::fs::read(&file).expect("an output"), whole, "{name}, resumed");
        }
        println!("{extension}: lost {losses} times, {parts} of them within the output");
        assert!(losses > 0 && (extension != "jsonl" || parts > 0));
    }
}

/// Whichever allocation the driver refuses first, the results are right, or the error says why.
#[test]
fn runs_on_a_driver_without_memory_succeed_or_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if !build(folder) {
        return;
    }
    assert_eq!(embed(folder, "whole.jsonl", None, &[]).code, 0);
    let whole = std::fs::read(folder.join("whole.jsonl")).expect("an output");
    let mut failures = 0;
    for after in 0..4 {
        let name = format!("{after}.jsonl");
        let run = embed(folder, &name, Some(("memory", after)), &[]);
        if run.code == 0 {
            assert_eq!(std::fs::read(folder.join(&name)).expect("an output"), whole, "{name}");
        } else {
            failures += 1;
            assert!(run.code == 1 && matches!(run.errors()[..], [error] if error.contains("memory")), "{name}: {}", run.stderr);
        }
    }
    assert!(failures > 0);
}

/// A server whose device is lost answers every request with an error or a result, and ends with an error, so that a service manager starts it again.
#[test]
fn a_server_whose_device_is_lost_ends_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if !build(folder) {
        return;
    }
    let image = std::fs::read(path("examples/digits/samples/printed-2.png")).expect("a sample");
    let mut command = program();
    command.args(["--device", "gpu", "--no-tune", "--max-batch", "2"]);
    break_driver(&mut command, folder, "lost", 20);
    let serving = Serving::of(command);
    let lost = (0..40).map(|_| serving.post("/classify", &image)).find(|answer| answer.status != 200).expect("the device is lost");
    assert!(lost.status == 503 && lost.error().contains("device lost"), "{lost:?}");
    let (code, log) = serving.end();
    assert!(code == 1 && format!("{log:?}").contains("device lost"), "{log:?}");
}
