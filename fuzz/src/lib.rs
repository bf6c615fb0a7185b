//! Fuzz targets: each takes the bytes of a file from a stranger, or choices for a call, and must neither panic nor hang, whatever they are.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vitraux::low_level::checkpoint::{open_preprocess, open_tensor};
use vitraux::{Checkpoint, Device, DeviceChoice, Head, Image, Model, Precision, Session, Tensor, Tuning};

/// A target, with the fixtures that its mutations start from.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Ends of the paths of the fixtures.
    pub seeds: &'static [&'static str],
}

/// All targets. Each has a file in `fuzz_targets`, which a test holds.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config, seeds: &["config.json"] },
    Target { name: "weights", run: weights, seeds: &["bad/base/model.safetensors", "ok_metadata/model.safetensors"] },
    Target { name: "npz", run: npz, seeds: &[".npz"] },
    Target { name: "head", run: head, seeds: &["bad/base/expected.safetensors", "bad/base/model.safetensors"] },
    Target { name: "table", run: table, seeds: &["nvidia-h200.json"] },
    Target { name: "image", run: image, seeds: &[".png", ".jpg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"] },
    Target { name: "processor", run: processor, seeds: &["preprocessor_config.json"] },
    Target { name: "pass", run: pass, seeds: &[] },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the contents of the fixtures of a target that are small enough to mutate.
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in ["tests/fixtures", "src/operations/tuning"] {
        collect(&root().join(folder), &mut |path| {
            let is_seed = target.seeds.iter().any(|end| path.to_string_lossy().replace('\\', "/").ends_with(end));
            if is_seed && path.metadata().is_ok_and(|metadata| metadata.len() < 1 << 18) {
                found.extend(std::fs::read(path));
            }
        });
    }
    found.extend(target.seeds.is_empty().then(|| vec![0; 16]));
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
fn in_folder(files: &[(&str, &[u8])], with: impl FnOnce(&Path)) {
    thread_local!(static FOLDER: OnceCell<TempDir> = const { OnceCell::new() });
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path();
        for entry in std::fs::read_dir(folder).expect("our folder") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("our file");
        }
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).expect("our file"));
        with(folder);
    });
}

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/bad/base/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../tests/fixtures/bad/base/model.safetensors");

/// Opens a checkpoint, and if it is one, runs it.
fn open_and_run(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    let Ok(shape) = checkpoint.config.input_shape(1, checkpoint.config.native_size()) else { return };
    // Larger ones are right, and slow.
    if shape.iter().product::<usize>() > 1 << 16 || checkpoint.config.flops(checkpoint.config.native_size()).is_ok_and(|flops| flops > 1 << 28) {
        return;
    }
    let device = Device::open_blocking(DeviceChoice::Cpu).expect("the CPU");
    if let Ok(model) = Model::builder(checkpoint).device(device).load_blocking() {
        let _ = model.session().forward_blocking(&Tensor::zeros(shape), &["tokens"]);
    }
}

/// `config.json` beside the weights of a tiny model.
pub fn config(data: &[u8]) {
    in_folder(&[("config.json", data), ("model.safetensors", WEIGHTS)], open_and_run);
}

/// `model.safetensors` beside the configuration of a tiny model.
pub fn weights(data: &[u8]) {
    in_folder(&[("config.json", CONFIG), ("model.safetensors", data)], open_and_run);
}

/// An npz file of google-research.
pub fn npz(data: &[u8]) {
    in_folder(&[("model.npz", data)], |folder| open_and_run(&folder.join("model.npz")));
}

/// A classifier for `--head`, and tensors for `forward`.
pub fn head(data: &[u8]) {
    in_folder(&[("head.safetensors", data)], |folder| {
        let file = folder.join("head.safetensors");
        if let Ok(head) = Head::open(&file) {
            let _ = Checkpoint::digits().with_head("own", head);
        }
        if let Ok(tensor) = open_tensor(&file, "pixel_values") {
            let _ = tensor.values();
        }
    });
}

/// A tuning table.
pub fn table(data: &[u8]) {
    in_folder(&[("table.json", data)], |folder| {
        if let Ok(table) = Tuning::open(folder.join("table.json")) {
            let _ = table.choices();
            let _ = table.to_string();
        }
    });
}

/// An image, through the preprocessing of the digits model.
pub fn image(data: &[u8]) {
    // Larger ones are decoded, and slow.
    const LIMIT: u64 = 8 << 20;
    in_folder(&[("image", data)], |folder| {
        if let Ok(image) = Image::open_within(folder.join("image"), LIMIT) {
            assert_eq!(image.data.len(), image.width * image.height * image.channels);
            let _ = Checkpoint::digits().preprocess.expect("it takes images").apply(&image);
        }
    });
}

/// `preprocessor_config.json`, applied to small images.
pub fn processor(data: &[u8]) {
    const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/cases/hf_vit_cls/config.json");
    in_folder(&[("config.json", CONFIG), ("preprocessor_config.json", data)], |folder| {
        let Ok(preprocess) = open_preprocess(folder, None) else { return };
        for (size, channels) in [([5, 7], 3), ([64, 32], 1)] {
            let image = Image::new(size, channels, vec![99; size[0] * size[1] * channels]).expect("an image");
            // Larger ones are right, and slow.
            if preprocess.output_size(size).is_ok_and(|[height, width]| height * width > 1 << 20) {
                continue;
            }
            if let Ok(pixels) = preprocess.apply(&image) {
                assert!(pixels.len() <= 1 << 28);
            }
        }
    });
}

/// A pass of the digits model on the CPU: the first bytes choose batch, precision and outputs, the others the shape.
pub fn pass(data: &[u8]) {
    thread_local!(static SESSIONS: [OnceCell<Session>; 3] = const { [OnceCell::new(), OnceCell::new(), OnceCell::new()] });
    let byte = |place: usize| usize::from(data.get(place).copied().unwrap_or(0));
    let precision = byte(0) % 3;
    SESSIONS.with(|sessions| {
        let session = sessions[precision].get_or_init(|| {
            let device = Device::open_blocking(DeviceChoice::Cpu).expect("the CPU");
            let precision = [Precision::F32, Precision::F16, Precision::Int8][precision];
            Model::builder(Checkpoint::digits()).device(device).precision(precision).load_blocking().expect("a model").session()
        });
        let mut session = session.model().clone().session();
        let shape: Vec<usize> = match byte(1) % 4 {
            0 => (0..byte(2) % 6).map(|axis| byte(3 + axis) % 40).collect(),
            _ => vec![byte(2) % 4, 1, 4 * (byte(3) % 16), 4 * (byte(4) % 16)],
        };
        let names = ["tokens", "features", "logits", "probabilities", "pca", "rollout", "embeddings"];
        let mut wanted: Vec<String> = names.iter().enumerate().filter(|(i, _)| byte(9) >> i & 1 == 1).map(|(_, name)| (*name).to_owned()).collect();
        wanted.push(format!("attn.{}.{}", byte(10) % 6, byte(11)));
        wanted.push(format!("hidden.{}", byte(12) % 6));
        wanted.truncate(1 + byte(13) % 8);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        if let Ok(outputs) = session.forward_blocking(&Tensor::zeros(shape), &wanted) {
            assert!(outputs.values().all(|output| output.values().iter().all(|value| value.is_finite())));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_file_and_seeds_that_do_not_panic() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), TARGETS.len());
        for target in TARGETS {
            let text = std::fs::read_to_string(folder.join(target.name).with_extension("rs")).expect("a file for each target");
            assert!(text.contains(&format!("vitraux_fuzz::{}(data)", target.name)));
            let seeds = seeds(target);
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }
}
