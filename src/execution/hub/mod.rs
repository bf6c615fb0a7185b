//! Models on the Hugging Face hub: `owner/name`, downloaded into the cache that its libraries share.
//!
//! Only a file with the announced length and hash is linked into a snapshot.

mod cache;
mod entry;
mod failure;
mod form;
mod hash;
mod reference;
mod remote;
mod transfer;

use crate::data::error::{Error, Result};
use crate::execution::checkpoint::{CONFIG, LARGEST_JSON, OPEN_CLIP_CONFIG};
use crate::execution::storage;
use cache::Cache;
use entry::Entry;
use failure::Failure;
use form::Form;
use reference::Reference;
use remote::{HubResult, Remote};
use std::path::{Path, PathBuf};

/// A library's names of a model's files.
struct Layout {
    config: &'static str,
    /// Weights, the preferred first: a file, or else the index of its shards.
    weights: [(&'static str, &'static str); 2],
}

/// Layouts of models on the hub, the preferred first.
const LAYOUTS: [Layout; 2] = [
    Layout {
        config: CONFIG,
        weights: [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")],
    },
    Layout {
        config: OPEN_CLIP_CONFIG,
        weights: [
            ("open_clip_model.safetensors", "open_clip_model.safetensors.index.json"),
            ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin.index.json"),
        ],
    },
];

const PROCESSOR: &str = "preprocessor_config.json";
/// Replaces the former in transformers 5, and takes precedence over it.
const PROCESSORS: &str = "processor_config.json";

/// Callback during a download: the file's name, the bytes received, and the total bytes.
type DownloadProgress<'a> = dyn Fn(&str, u64, u64) + 'a;

/// What is downloaded of a model.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Configuration, preprocessing and weights.
    Model,
    /// The configuration, and those of these files that the model has.
    Files(&'a [File]),
}

/// An optional file of a model.
pub(in crate::execution) struct File {
    pub name: &'static str,
    /// Maximum bytes.
    pub largest: u64,
}

/// Whether the text could name a model on the hub: `owner/name`, or `owner/name@revision`.
pub fn is_reference(text: &str) -> bool {
    Reference::parse(text).is_some()
}

/// Returns the folder of a model on the hub, `owner/name` or `owner/name@revision`, with its configuration, preprocessing
/// and weights: safetensors, or where there are none, `pytorch_model.bin`. Files that are not in the cache are downloaded. The environment variables are those of Hugging Face's
/// libraries: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
///
/// `progress` is called during downloads with a file's name, the bytes received and the total bytes.
///
/// # Errors
/// [`Error::Argument`] if `reference` is not such a name; [`Error::Network`] if the model does not exist, access is denied,
/// it has no weights, or the hub cannot be reached and the cache does not have the model; [`Error::Io`] or
/// [`Error::File`] if a file in the cache cannot be read or written, or is damaged.
pub fn fetch(reference: &str, progress: &dyn Fn(&str, u64, u64)) -> Result<PathBuf> {
    fetch_wanted(reference, Wanted::Model, progress)
}

/// Returns the folder of a model as [`fetch`] does, with its configuration and those of `files` that it has, whether or not the weights are there.
#[cfg_attr(not(feature = "text"), expect(dead_code, reason = "only tokenizers are fetched without weights"))]
pub(in crate::execution) fn fetch_files(reference: &str, files: &[File], progress: &DownloadProgress<'_>) -> Result<PathBuf> {
    fetch_wanted(reference, Wanted::Files(files), progress)
}

fn fetch_wanted(reference: &str, wanted: Wanted<'_>, progress: &DownloadProgress<'_>) -> Result<PathBuf> {
    let reference = Reference::parse(reference)
        .ok_or_else(|| Error::argument("model", format!("expected a model on the hub as owner/name or owner/name@revision, found {reference:?}")))?;
    let cache = Cache::open(&reference)?;
    let usable = cache.usable(wanted);
    match (cache.cached(wanted), &usable) {
        // A commit never changes.
        (Some(folder), _) if reference.is_commit() => return Ok(folder),
        (_, Some(folder)) if is_offline() => return Ok(folder.clone()),
        (_, None) if is_offline() => {
            return Err(reference.error("not completely in the cache, and HF_HUB_OFFLINE is set; unset it to download the model"));
        }
        _ => {}
    }
    let remote = Remote::open(&reference, cache)?;
    let why = match download(&remote, wanted, progress) {
        Ok(folder) => return Ok(folder),
        Err(Failure::Final(error)) => return Err(error),
        Err(Failure::Refused(refusal)) => return Err(refusal.error(&reference, &remote.address())),
        Err(Failure::Unreachable(why) | Failure::Cut(why)) => format!("{} cannot be reached ({why})", remote.address()),
    };
    match usable {
        Some(folder) => {
            log::info!("{reference}: {why}; using the revision in the cache, {}", folder.display());
            Ok(folder)
        }
        None => Err(reference.error(format!("neither a folder nor completely in the cache, and {why}; check the name and the network"))),
    }
}

/// Whether the network must not be used, by the values that the Python library accepts as true.
fn is_offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
}

/// Downloads a folder's files. The revision's name points to the folder only once it is complete.
fn download(remote: &Remote, wanted: Wanted<'_>, progress: &DownloadProgress<'_>) -> HubResult<PathBuf> {
    let (layout, configuration) = find_configuration(remote)?;
    transfer::fetch(remote, &configuration, progress)?;
    let state = remote.state();
    match wanted {
        Wanted::Model => download_model(remote, layout, progress)?,
        Wanted::Files(files) => {
            for File { name, largest } in files {
                match find(remote, name)? {
                    Some(entry) => transfer::fetch(remote, &Entry { largest: Some(*largest), ..entry }, progress)?,
                    None => remote.cache.mark_absent(&state, name),
                }
            }
        }
    }
    remote.cache.point(&state)?;
    Ok(remote.cache.snapshot(&state))
}

/// Requests the metadata of the configuration, whose name tells the layout.
fn find_configuration(remote: &Remote) -> HubResult<(&'static Layout, Entry)> {
    let [preferred, other] = &LAYOUTS;
    match remote.ask(preferred.config) {
        Err(Failure::Refused(refusal)) if refusal.is_absence() => match find(remote, other.config)? {
            Some(entry) => Ok((other, entry)),
            None => Err(Failure::Refused(refusal)),
        },
        answer => Ok((preferred, answer?)),
    }
}

/// Downloads preprocessing and weights.
fn download_model(remote: &Remote, layout: &Layout, progress: &DownloadProgress<'_>) -> HubResult<()> {
    let get = |entry: &Entry| transfer::fetch(remote, entry, progress);
    let state = remote.state();
    match find(remote, PROCESSOR)? {
        Some(processor) => get(&processor)?,
        None => remote.cache.mark_absent(&state, PROCESSOR),
    }
    if let Some(processors) = find(remote, PROCESSORS)? {
        get(&processors)?;
    }
    get_weights(remote, layout, get)
}

/// Downloads the weights, or the index and all shards.
fn get_weights(remote: &Remote, layout: &Layout, get: impl Fn(&Entry) -> HubResult<()>) -> HubResult<()> {
    for (file, index) in layout.weights {
        if let Some(weights) = find(remote, file)? {
            return get(&weights);
        }
        if let Some(found) = find(remote, index)? {
            get(&found)?;
            let shards = shards(&remote.cache.snapshot(&remote.state()).join(index), Form::of(file))?;
            return shards.iter().try_for_each(|shard| get(&remote.ask(shard)?));
        }
    }
    let files = layout.weights.map(|(file, _)| file).join(" or ");
    Err(remote.reference.error(format!("expected {files}, or an index of shards, found none of them; choose another model")).into())
}

/// Requests the metadata of an optional file.
fn find(remote: &Remote, name: &str) -> HubResult<Option<Entry>> {
    match remote.ask(name) {
        Err(Failure::Refused(refusal)) if refusal.is_absence() => Ok(None),
        answer => answer.map(Some),
    }
}

/// Returns the shards in an index. They become paths, so each must name a file next to the index.
fn shards(index: &Path, form: Option<Form>) -> Result<Vec<String>> {
    let text = storage::read(index, LARGEST_JSON)?;
    let wrong = |what: String| Error::file(index, format!("expected weight_map, an object that maps tensors to files, found {what}"));
    let root: serde_json::Value = serde_json::from_slice(&text).map_err(|error| wrong(format!("invalid JSON: {error}")))?;
    let map = root["weight_map"].as_object().ok_or_else(|| wrong(root["weight_map"].to_string()))?;
    let mut names = Vec::new();
    for place in map.values() {
        match place.as_str() {
            Some(name) if reference::is_plain(name) && Form::of(name) == form => names.push(name.to_owned()),
            _ => return Err(Error::file(index, format!("weight_map names {place}; expected the name of a file of weights in the same folder"))),
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}
