//! The house: a module uses only what stands below it, and packaging stays as promised.

use crate::support::path;
use std::path::Path;

/// Modules from the ground up; those on one line do not use each other.
const FLOORS: &[&[&str]] = &[
    &["error", "levels"],
    &["tensor", "config", "capabilities", "int8", "storage"],
    &["panels"],
    &["record", "filter", "painting"],
    &["cpu", "gpu", "checkpoint", "preprocess", "hub"],
    &["kernels"],
    &["model", "device", "cases"],
    &["tuning"],
    &["session"],
    &["doctor"],
];

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|modules| modules.contains(&module));
    found.unwrap_or_else(|| panic!("{module} stands on no floor; ARCHITECTURE.md and this test list them"))
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        if file.is_dir() {
            sources(&file, found);
        } else {
            found.push(file);
        }
    }
}

/// The modules that a file names behind `crate::`, those in braces too.
fn uses(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        let word = |name: &str| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        found.extend(names.into_iter().map(word));
    }
    found
}

#[test]
fn modules_use_only_lower_floors() {
    let root = path("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let relative = file.strip_prefix(&root).expect("a file of src").to_string_lossy().into_owned();
        let module = relative.split(['/', '.']).next().unwrap_or_default();
        if relative.starts_with("cli/") || ["lib.rs", "main.rs"].contains(&relative.as_str()) || relative.ends_with(".json") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("text");
        for used in uses(&text) {
            // Macros of the crate root stand where they are defined.
            if used != module && !used.chars().next().is_some_and(char::is_uppercase) {
                assert!(floor(&used) < floor(module), "{relative} on floor {} uses {used} on floor {}", floor(module), floor(&used));
            }
        }
    }
}

#[test]
fn uses_are_found() {
    assert_eq!(uses("use crate::record::{Buf};\n// crate::session\nlet x = crate::{cpu, gpu::Plan};"), ["record", "cpu", "gpu"]);
}

#[test]
fn fixtures_stay_out_of_the_package() {
    let manifest = std::fs::read_to_string(path("Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("exclude = [\"tests/fixtures\""));
}
