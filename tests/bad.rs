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
    assert_eq!(entries.len(), 63);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in entries {
        let file = entry["file"].as_str().expect("a file");
        let (base, output, image) = (path(BAD).join("base"), folder.path().join("pixels.safetensors"), path(BAD).join(file));
        let arguments = ["preprocess".as_ref(), "--model".as_ref(), base.as_os_str(), "--output".as_ref(), output.as_os_str(), image.as_os_str()];
        check(entry, file, &vitraux(arguments));
    }
}
