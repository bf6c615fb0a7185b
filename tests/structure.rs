//! The layers: a file uses only its own and those below, no modules of a layer use each other in a circle, and packaging stays as promised.

use crate::support::path;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The folders of `src/`, the lowest layer first.
const LAYERS: [&str; 4] = ["data", "execution", "operations", "model"];

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

/// The paths behind `crate::` in a file, as layer and module; those in braces too.
fn uses(text: &str) -> BTreeSet<(String, String)> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (place, _) in code.match_indices("crate::").filter(|(place, _)| !code[..*place].ends_with(is_word)) {
        let path = &code[place + "crate::".len()..];
        let layer = word(path);
        let rest = path[layer.len()..].trim_start_matches("::");
        let modules = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(word).collect(),
            None => vec![word(rest)],
        };
        found.extend(modules.into_iter().map(|module| (layer.clone(), module)));
    }
    found
}

/// For each module of each layer, those of the same layer that it uses; fails on a use of a higher layer.
fn graph() -> BTreeMap<(String, String), BTreeSet<String>> {
    let root = path("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut graph: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let relative = file.strip_prefix(&root).expect("a file of src").with_extension("").to_string_lossy().into_owned();
        let parts: Vec<&str> = relative.split('/').collect();
        // Beside the layers there is what is public.
        let &[layer, module, ..] = parts.as_slice() else {
            assert!(["lib", "host", "low_level", "postprocess", "preprocess"].contains(&relative.as_str()), "{relative} is in no layer");
            continue;
        };
        let height = |layer: &str| LAYERS.iter().position(|known| *known == layer).unwrap_or_else(|| panic!("{relative}: {layer} is no layer"));
        let own = height(layer);
        for (used, of) in uses(&std::fs::read_to_string(file).expect("text")) {
            assert!(height(&used) <= own, "{relative} in {layer} uses {used}::{of} above it");
            if used == layer && of != module && module != "mod" {
                graph.entry((layer.to_owned(), module.to_owned())).or_default().insert(of);
            }
        }
    }
    graph
}

#[test]
fn files_use_only_their_own_or_lower_layers() {
    let graph = graph();
    let uses = |layer: &str, module: &str, of: &str| graph[&(layer.to_owned(), module.to_owned())].contains(of);
    assert!(uses("execution", "gpu", "image") && uses("operations", "tuning", "kernels") && uses("model", "session", "forward"));
}

/// What is left of a graph when whatever uses nothing that is left is taken away: its circles.
fn circles(mut graph: BTreeMap<(String, String), BTreeSet<String>>) -> BTreeMap<(String, String), BTreeSet<String>> {
    while let Some(free) = graph.iter().find(|((layer, _), used)| used.iter().all(|of| !graph.contains_key(&(layer.clone(), of.clone())))) {
        let free = free.0.clone();
        graph.remove(&free);
    }
    graph
}

#[test]
fn layer_modules_have_no_dependency_cycles() {
    assert_eq!(circles(graph()), BTreeMap::new());
}

#[test]
fn gpu_files_have_no_dependency_cycles() {
    let mut graph = BTreeMap::new();
    let mut files = Vec::new();
    sources(&path("src/execution/gpu"), &mut files);
    for file in files {
        let name = file.file_stem().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("text");
        let used = text.lines().filter_map(|line| line.trim().strip_prefix("use super::")).filter_map(|used| used.split("::").next());
        let used: BTreeSet<String> = used.filter(|used| !used.starts_with('*')).map(str::to_owned).collect();
        graph.insert(("gpu".to_owned(), name), used);
    }
    let uses_context = graph.values().filter(|used| used.contains("context")).count();
    assert!(uses_context > 8, "{graph:?}");
    assert_eq!(circles(graph), BTreeMap::new());
}

#[test]
fn crate_uses_are_parsed_from_source() {
    let text = "use crate::data::record::{Buf};\n// crate::model::session\nlet x = crate::execution::{cpu, gpu::Plan};";
    let found: Vec<(String, String)> = uses(text).into_iter().collect();
    let expected = [("data", "record"), ("execution", "cpu"), ("execution", "gpu")];
    assert_eq!(found, expected.map(|(layer, module)| (layer.to_owned(), module.to_owned())));
}

#[test]
fn fixtures_stay_out_of_the_package() {
    let manifest = std::fs::read_to_string(path("Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("exclude = [\"tests\""));
}
