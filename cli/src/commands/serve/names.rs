//! Names of models in URLs.

use crate::commands::Result;
use std::path::{Path, PathBuf};

/// Splits `NAME=MODEL`; a path may contain a = itself.
pub fn split(text: &str) -> (Option<String>, Option<PathBuf>) {
    match text.split_once('=') {
        Some((name, model)) if !name.is_empty() && !name.contains(['/', '\\']) && !Path::new(text).exists() => {
            (Some(name.to_owned()), Some(model.into()))
        }
        _ => (None, Some(text.into())),
    }
}

/// Returns the name of a model by its place: the last part of its path or hub name, without revision.
pub fn own_name(model: &Path) -> Result<String> {
    let place = if model.exists() { model.canonicalize()? } else { model.to_owned() };
    let name = match place.file_name() {
        // That of the folder.
        Some(name) if name == "model.safetensors" || name == "config.json" => place.parent().and_then(Path::file_name),
        _ if place.is_file() => place.file_stem(),
        name => name,
    };
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.split('@').next() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(format!("--model {}: expected a name for it, as in --model NAME={}", model.display(), model.display()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_option_or_place() {
        let parts = |text: &str| split(text);
        assert_eq!(parts("a=b/c"), (Some("a".to_owned()), Some("b/c".into())));
        assert_eq!(parts("b/c=d"), (None, Some("b/c=d".into())));
        assert_eq!(parts("digits"), (None, Some("digits".into())));
        assert_eq!(own_name(Path::new("facebook/dinov2-small@v1")).expect("a name"), "dinov2-small");
        assert!(own_name(Path::new("/")).is_err());
    }
}
