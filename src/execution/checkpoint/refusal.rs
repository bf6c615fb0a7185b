//! What is said of a model that is not run.

use super::Outline;
use super::files::Files;
use crate::data::error::{Error, Result};
use std::path::Path;

/// The candidate that has most tensors in common with the checkpoint, and of several such, or without a checkpoint, the one
/// whose name looks most like `name`. `outlined` gives what a candidate is made of, or nothing if it is not run.
pub fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    outlined: impl Fn(&str) -> Option<Outline>,
    files: Option<&Files>,
) -> String {
    let name = name.to_lowercase();
    let in_common = |outline: &Outline| files.map_or(0, |files| outline.names().iter().filter(|name| files.has(name)).count());
    let judged = candidates.filter_map(|known| Some((in_common(&outlined(known)?), strsim::jaro_winkler(&name, &known.to_lowercase()), known)));
    let best = judged.max_by(|(tensors, likeness, _), (others, other, _)| tensors.cmp(others).then(likeness.total_cmp(other)));
    best.expect("some are run").2.to_owned()
}

/// An error about a model that is not run: why, what the nearest one is that is, and the first tensor that does not fit it.
pub fn refusal(path: &Path, why: String, nearest: &str, outline: impl FnOnce() -> Result<Outline>, files: Option<&Files>) -> Error {
    let fits = match (outline(), files) {
        (Err(error), _) => format!(", which does not fit: {error}"),
        (Ok(_), None) => String::new(),
        (Ok(outline), Some(files)) => match outline.load(path, None, files) {
            Err(error) => format!(", which does not fit: {error}"),
            Ok(_) => "; the tensors that it needs are there, but nothing is guessed".to_owned(),
        },
    };
    Error::unsupported(path, format!("{why}; the nearest supported is {nearest:?}{fits}"))
}
