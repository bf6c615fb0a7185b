//! LoRA adapters as peft saves them (Hu et al. 2021): `adapter_config.json` and `adapter_model.safetensors`, merged into the weights they were
//! trained for.
//!
//! Source: peft's `tuners/lora` and `utils/save_and_load.py`.

mod config;
mod names;

use super::files::{ADAPTER, Files};
use super::folder::Folder;
use super::json::Object;
use super::low_rank::LowRank;
use crate::data::error::{Error, Result};
use crate::execution::threads;
use config::AdapterConfig;
use names::{PREFIX, Role, found};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

pub const CONFIG: &str = "adapter_config.json";

/// Name of the classifier in models of transformers.
const CLASSIFIER: &str = "classifier.weight";

/// Adds the adapter in a folder to a model's weights. Returns them with the model's configuration, to which the adapter may add a classifier.
pub fn merged(path: &Path, mut files: Files, root: Object, mapped_from: u64) -> Result<(Files, Object)> {
    let folder = Folder::Stored(path.to_owned());
    let config = match folder.object(CONFIG)? {
        Some(config) => AdapterConfig::read(&config)?,
        None => return Err(Error::file(path.join(CONFIG), "no such file; expected the folder of an adapter that peft saved")),
    };
    threads::start()?;
    let had_classifier = files.has(CLASSIFIER);
    let mut adapter = Files::open(&folder, &ADAPTER, mapped_from)?;
    let mut names: Vec<String> = adapter.names().map(str::to_owned).collect();
    names.sort();
    let roles = names.iter().map(|name| Ok((name, Role::of(name)?))).collect::<Result<Vec<_>>>()?;
    let mut changed = HashSet::new();
    for (name, (module, role)) in roles {
        let missing = || Error::tensor(name, "the model has no tensor that it belongs to; choose the model that the adapter was trained for");
        let mut change = |base: &str| match changed.insert(base.to_owned()) {
            true => Ok(()),
            false => Err(Error::tensor(name, format!("another tensor of the adapter belongs to {base} too"))),
        };
        match role {
            Role::Down => {
                let base = found(&files, module, "weight").ok_or_else(missing)?;
                let factors = [adapter.tensor(name)?, adapter.tensor(&format!("{PREFIX}{module}.lora_B.weight"))?];
                let scale = config.scale(module, factors[0].shape().first().copied().unwrap_or(0))?;
                let update = LowRank::new(name, scale, factors, files.shape(&base)?)?;
                change(&base)?;
                files.update(base, update);
            }
            // Read with its counterpart, which must be there.
            Role::Up => drop(adapter.shape(&format!("{PREFIX}{module}.lora_A.weight"))?),
            Role::Whole(leaf) => {
                // Of what an encoder lacks, nothing but a classifier is read.
                let is_classifier = CLASSIFIER.rsplit_once('.').is_some_and(|(classifier, _)| module == classifier);
                let own = || (is_classifier && config.saves(module)).then(|| format!("{module}.{leaf}"));
                let base = found(&files, module, leaf).or_else(own).ok_or_else(missing)?;
                change(&base)?;
                let tensor = adapter.take(name).expect("one of its names");
                files.replace(base, tensor);
            }
        }
    }
    let root = if files.has(CLASSIFIER) { with_classes(root, files.sizes::<2>(CLASSIFIER)?[0], had_classifier) } else { root };
    Ok((files, root))
}

/// Returns a configuration for so many classes. Without a classifier of its own, the model's class is that of an encoder; its task follows from the tensors.
fn with_classes(root: Object, classes: usize, had_classifier: bool) -> Object {
    let root = if had_classifier { root } else { root.with("architectures", Value::Null) };
    match root.labels("id2label") {
        Ok(Some(names)) if names.len() == classes => root,
        _ => root.with("id2label", Value::Null).with("num_labels", classes.into()),
    }
}
