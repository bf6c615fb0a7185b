//! What is said of a model that is not run.

use super::Outline;
use super::files::Files;
use crate::error::{Error, Result};
use std::path::Path;

/// The candidate that looks most like a name.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
}

/// An error about a model that is not run: why, what the nearest one is that is, and the first tensor that does not fit it.
pub fn refusal(path: &Path, why: String, nearest: &str, outline: impl FnOnce() -> Result<Outline>, files: Option<&Files>) -> Error {
    let fits = match (outline(), files) {
        (Err(error), _) => format!(", which does not fit: {error}"),
        (Ok(_), None) => String::new(),
        (Ok(outline), Some(files)) => match outline.load(path, None, files) {
            Err(error) => format!(", which does not fit: {error}"),
            Ok(_) => "; its tensors all fit: if this is that model, say so in the configuration".to_owned(),
        },
    };
    Error::unsupported(path, format!("{why}; the nearest supported is {nearest:?}{fits}"))
}
