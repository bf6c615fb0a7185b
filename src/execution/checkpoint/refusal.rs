//! Errors for unsupported models.

use super::Outline;
use super::files::Files;
use crate::data::error::{Error, Result};
use std::path::Path;

/// Share of a model's tensors that a checkpoint must have to be mistaken for it.
const LEAST_SHARE: f64 = 0.1;

/// Characters of a name that are compared.
const COMPARED: usize = 100;

/// Returns the candidate that shares the most tensors with the checkpoint, or `None` if it shares hardly any. Among equals, or without a checkpoint,
/// the one whose name is most similar to `name` wins. `outlined` returns a candidate's outline, or `None` if it is not supported.
pub fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    outlined: impl Fn(&str) -> Option<Outline>,
    files: Option<&Files>,
) -> Option<String> {
    let name: String = name.chars().take(COMPARED).collect::<String>().to_lowercase();
    let in_common = |outline: &Outline| files.map_or(0, |files| outline.names().iter().filter(|name| files.has(name)).count());
    let judged = candidates.filter_map(|known| Some((in_common(&outlined(known)?), strsim::jaro_winkler(&name, &known.to_lowercase()), known)));
    let best = judged.max_by(|(tensors, likeness, _), (others, other, _)| tensors.cmp(others).then(likeness.total_cmp(other)));
    let (tensors, _, nearest) = best.expect("some are run");
    let is_like = || tensors as f64 >= LEAST_SHARE * outlined(nearest).map_or(0, |outline| outline.names().len()) as f64;
    (files.is_none() || is_like()).then(|| nearest.to_owned())
}

/// Builds the error for an unsupported model: the reason, the nearest supported model, and the first tensor that does not fit it.
pub fn refusal(path: &Path, why: String, nearest: &str, outline: impl FnOnce() -> Result<Outline>, files: Option<&Files>) -> Error {
    let fits = match (outline(), files) {
        (Err(error), _) => format!(", which does not fit: {error}"),
        (Ok(_), None) => String::new(),
        (Ok(outline), Some(files)) => match outline.load(path, None, files) {
            Err(error) => format!(", which does not fit: {error}"),
            Ok(_) => "; all tensors that it needs are present, but vitraux does not guess".to_owned(),
        },
    };
    Error::unsupported(path, format!("{why}; the nearest supported model is {nearest:?}{fits}"))
}
