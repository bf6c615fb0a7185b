//! Fuzz targets: each takes the bytes of a file from a stranger, or choices for a call, and must neither panic nor hang, whatever they are.

// Nightly compilers of October 2026 need more than the usual depth of 128 to find out whether the types of wgpu are `Send`.
#![recursion_limit = "256"]

pub mod files;
pub mod models;
pub mod results;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tempfile::TempDir;

/// A target, with the fixtures that its mutations start from.
pub struct Target {
    pub name: &'static str,
    /// Returns whether the input was accepted, rather than reported as an error.
    pub run: fn(&[u8]) -> bool,
    /// Ends of the paths of the fixtures.
    seeds: &'static [&'static str],
}

impl Target {
    /// Whether its inputs are files, which must be read within seconds, rather than choices.
    pub fn reads_files(&self) -> bool {
        !self.seeds.is_empty()
    }
}

/// All targets. Each has a file in `fuzz_targets`, which a test holds.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: files::config, seeds: &["config.json"] },
    Target { name: "weights", run: files::weights, seeds: &["bad/base/model.safetensors", "ok_metadata/model.safetensors"] },
    Target { name: "npz", run: files::npz, seeds: &[".npz"] },
    Target {
        name: "pytorch",
        run: files::pytorch,
        seeds: &["pickle_only_zip/pytorch_model.bin", "seeds/pytorch/legacy.bin", "seeds/pytorch/training.bin"],
    },
    Target { name: "adapter", run: files::adapter, seeds: &["adapter_model.safetensors"] },
    Target {
        name: "head",
        run: files::head,
        seeds: &["seeds/head/head.safetensors", "seeds/head/bare.safetensors", "bad/base/expected.safetensors"],
    },
    Target { name: "table", run: files::table, seeds: &["nvidia-h200.json"] },
    Target { name: "image", run: files::image, seeds: &[".png", ".webp", ".gif", ".bmp", ".pgm", ".ppm"] },
    Target { name: "jpeg", run: files::image, seeds: &[".jpg"] },
    Target { name: "tiff", run: files::image, seeds: &[".tif", ".tiff"] },
    Target { name: "jxl", run: files::image, seeds: &[".jxl"] },
    Target { name: "heic", run: files::image, seeds: &[".heic"] },
    Target { name: "processor", run: files::processor, seeds: &["preprocessor_config.json"] },
    Target {
        name: "tokenizer",
        run: files::tokenizer,
        seeds: &["tokenizers/hf_clip_text_proj/tokenizer.json", "tokenizers/hf_siglip2_naflex/tokenizer.json"],
    },
    Target { name: "tokenizer_config", run: files::tokenizer_config, seeds: &["tokenizers/clip_added/tokenizer_config.json"] },
    Target { name: "pieces", run: files::pieces, seeds: &["spiece.model"] },
    Target { name: "unigram", run: files::unigram, seeds: &["seeds/unigram/tokenizer.json"] },
    Target { name: "index", run: results::index, seeds: &["seeds/index/i.safetensors"] },
    Target { name: "lines", run: results::lines, seeds: &["seeds/lines/l.csv", "seeds/lines/l.jsonl"] },
    Target { name: "rows", run: results::rows, seeds: &["seeds/rows/rows"] },
    Target { name: "array", run: results::array, seeds: &["seeds/array/a.parquet", "seeds/array/a.safetensors"] },
    Target { name: "baseline", run: results::baseline, seeds: &["seeds/baseline/bench.json"] },
    Target { name: "map", run: results::map, seeds: &["seeds/map/m.png"] },
    Target { name: "request", run: results::request, seeds: &["seeds/request/json", "seeds/request/files", "seeds/request/levels"] },
    Target { name: "archive", run: results::archive, seeds: &["seeds/archive/a.tar"] },
    Target { name: "pass", run: models::pass, seeds: &[] },
    Target { name: "recording", run: models::recording, seeds: &[] },
    Target { name: "model_on_gpu", run: models::model_on_gpu, seeds: &[] },
];

/// Runs the target of this name, for libFuzzer.
pub fn run(name: &str, data: &[u8]) {
    static HOOK: Once = Once::new();
    // libFuzzer's hook ends the process even if the library catches the panic of a decoder. What it does not catch ends it later.
    HOOK.call_once(|| drop(std::panic::take_hook()));
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(data);
}

/// Returns the contents of the fixtures of a target that are small enough to mutate; for choices, which need none, any bytes.
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in ["tests/fixtures", "src/operations/tuning", "fuzz/seeds"] {
        collect(&root.join(folder), &mut |path| {
            let is_seed = target.seeds.iter().any(|end| path.to_string_lossy().replace('\\', "/").ends_with(end));
            if is_seed && path.metadata().is_ok_and(|metadata| metadata.len() < 1 << 18) {
                found.extend(std::fs::read(path));
            }
        });
    }
    if target.seeds.is_empty() {
        found.extend([vec![0; 48], (0..48u8).map(|i| i.wrapping_mul(37)).collect()]);
    }
    found
}

fn collect(folder: &Path, each: &mut impl FnMut(&Path)) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { collect(&path, each) } else { each(&path) }
    }
}

/// Calls `with` with a folder that has these files. It is the same folder in all calls, so that an input does not cost a new one.
fn in_folder<T>(files: &[(&str, &[u8])], with: impl FnOnce(&Path) -> T) -> T {
    thread_local!(static FOLDER: OnceCell<TempDir> = const { OnceCell::new() });
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path();
        for entry in std::fs::read_dir(folder).expect("our folder") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("our file");
        }
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).expect("our file"));
        with(folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_file_and_a_seed_that_is_accepted() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), TARGETS.len());
        for target in TARGETS {
            let text = std::fs::read_to_string(folder.join(target.name).with_extension("rs")).expect("a file for each target");
            assert!(text.contains(&format!("run({:?}, data)", target.name)));
            let accepted = seeds(target).iter().filter(|seed| (target.run)(seed)).count();
            println!("{}: {accepted} seeds are accepted", target.name);
            // Without a GPU, there is nothing to compare with.
            assert!(
                accepted > 0 || target.name == "model_on_gpu" && std::env::var_os("VITRAUX_REQUIRE_GPU").is_none(),
                "no seed of {} is accepted",
                target.name
            );
        }
    }
}
