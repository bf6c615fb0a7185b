//! Checkpoints as they lie on the hub: configuration, preprocessing and weights of a folder.
//!
//! Each layout is one file with a reader of its configuration and a table of its tensor names.

mod files;
mod json;
mod position;
mod random;
mod source;
mod timm;
mod transformers;
mod weights;

pub use weights::{Block, Linear, Norm, Weight, Weights};

use crate::config::{Config, Preprocess};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use files::Files;
use json::Object;
use source::Source;
use std::path::Path;
use timm::Timm;
use transformers::Transformers;

/// Where transformers keeps how pictures are prepared.
const PROCESSOR: &str = "preprocessor_config.json";

/// A model as it was found: nothing is computed, and weights stay in the mapped file.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What is computed.
    pub config: Config,
    /// How pictures are prepared.
    pub preprocess: Preprocess,
    /// The weights.
    pub weights: Weights<Weight>,
}

/// A configuration of one of the two layouts.
enum Family {
    Timm(Timm),
    Transformers(Transformers),
}

impl Family {
    fn config(&self) -> &Config {
        match self {
            Family::Timm(family) => &family.config,
            Family::Transformers(family) => &family.config,
        }
    }

    fn weights(&self) -> Weights<Source> {
        match self {
            Family::Timm(family) => family.weights(),
            Family::Transformers(family) => family.weights(),
        }
    }
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors` (or shards with an index), in timm's
    /// or transformers' layout.
    ///
    /// # Errors
    /// If a file is missing or damaged, the model is of a family that vitraux does not run, or a tensor
    /// does not have the shape that the configuration says.
    pub fn open(folder: impl AsRef<Path>) -> Result<Checkpoint> {
        let folder = folder.as_ref();
        let root = root(folder)?;
        // A configuration that cannot be run is the better message than missing weights.
        let timm = timm_or_known(&root)?;
        let files = Files::open(folder)?;
        let family = match timm {
            Some(timm) => Family::Timm(timm),
            None => Family::Transformers(Transformers::read(&root, &files)?),
        };
        let preprocess = preprocess(&root, Object::open(&folder.join(PROCESSOR))?)?;
        Checkpoint::load(&root, &family, preprocess, &files)
    }

    /// The model that is part of the library: a small Vision Transformer that reads one digit, printed or
    /// handwritten; `examples/digits/` has its training and its accuracy.
    pub fn digits() -> Checkpoint {
        const CONFIG: &[u8] = include_bytes!("../../examples/digits/config.json");
        static WEIGHTS: &[u8] = include_bytes!("../../examples/digits/model.safetensors");
        let root = Object::parse(Path::new("digits/config.json"), CONFIG).expect("the embedded configuration is valid");
        let files = Files::embedded("digits/model.safetensors", WEIGHTS).expect("the embedded weights are valid");
        let load = || Checkpoint::load(&root, &Family::Timm(Timm::read(&root)?), timm::preprocess(&root)?, &files);
        load().expect("the embedded model is valid")
    }

    fn load(root: &Object, family: &Family, preprocess: Preprocess, files: &Files) -> Result<Checkpoint> {
        let config = family.config().clone();
        // Each block has tensors of its own; so a made-up depth is found out before anything is sized by it.
        if config.depth > files.len() {
            return Err(root.error(format!("depth {} is more than the {} tensors of the checkpoint allow", config.depth, files.len())));
        }
        Ok(Checkpoint { weights: family.weights().load(files)?, config, preprocess })
    }

    /// Number of learned values: those that a reference implementation counts.
    pub fn parameters(&self) -> usize {
        self.numbered_weights().iter().filter(|weight| weight.stored).map(|weight| weight.tensor.len()).sum()
    }

    /// All weights in the order in which a recording numbers them.
    pub fn numbered_weights(&self) -> Vec<Weight> {
        let mut numbered = Vec::new();
        let Ok(_) = self.weights.clone().try_map(|weight| {
            numbered.push(weight);
            Ok::<(), std::convert::Infallible>(())
        });
        numbered
    }
}

/// How pictures are prepared for the model of a folder; its weights need not be there.
///
/// # Errors
/// If the configuration is missing, damaged or not supported.
pub fn open_preprocess(folder: impl AsRef<Path>) -> Result<Preprocess> {
    let folder = folder.as_ref();
    preprocess(&root(folder)?, Object::open(&folder.join(PROCESSOR))?)
}

/// A tensor of floating-point numbers from a safetensors file.
///
/// # Errors
/// If the file is damaged, or has no such tensor.
pub fn open_tensor(path: impl AsRef<Path>, name: &str) -> Result<Tensor> {
    Files::open_file(path.as_ref())?.tensor(name)
}

fn root(folder: &Path) -> Result<Object> {
    let path = folder.join("config.json");
    match Object::open(&path)? {
        Some(root) => Ok(root),
        None if folder.is_dir() => Err(Error::file(&path, "no such file; expected the config.json of the hub next to the weights")),
        None => Err(Error::file(folder, "no such folder; expected one with config.json and model.safetensors")),
    }
}

/// timm's model, or nothing if it is one of transformers that vitraux knows.
fn timm_or_known(root: &Object) -> Result<Option<Timm>> {
    if root.has("architecture") {
        return Timm::read(root).map(Some);
    }
    match root.string("model_type")? {
        Some(name) if transformers::MODEL_TYPES.contains(&name) => Ok(None),
        Some(_) => Err(root.unsupported("model_type", "vit, vit_mae, or timm's config.json with an architecture")),
        None => Err(root.error("neither timm's architecture nor transformers' model_type; expected the config.json of a Vision Transformer")),
    }
}

fn preprocess(root: &Object, processor: Option<Object>) -> Result<Preprocess> {
    match root.has("architecture") {
        true => timm::preprocess(root),
        false => transformers::preprocess(root, processor),
    }
}

/// Names for `classes` classes, or none if there are not as many.
fn labels(names: Option<Vec<String>>, classes: usize) -> Vec<String> {
    names.filter(|names| names.len() == classes).unwrap_or_default()
}

/// A value for each channel: given for each, or one for all; `default` where the field is absent.
fn channel_values(object: &Object, key: &str, channels: usize, default: [f64; 3]) -> Result<Vec<f32>> {
    let values = object.numbers(key)?.unwrap_or(default.to_vec());
    // Judged as the f32 that is calculated with: 1e-300 would divide by 0.
    let usable = |value: &f64| (*value as f32).is_finite() && (!key.ends_with("std") || (*value as f32).is_normal());
    if !values.iter().all(usable) || values.is_empty() {
        return Err(object.wrong(key, "finite numbers, none 0 for a deviation"));
    }
    if values.len() == channels {
        return Ok(values.iter().map(|&value| value as f32).collect());
    }
    // Published configurations of models with other than three channels keep the three of RGB.
    let shared = values.iter().sum::<f64>() / values.len() as f64;
    Ok(vec![shared as f32; channels])
}
