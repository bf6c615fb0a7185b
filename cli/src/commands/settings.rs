//! Defaults of the user, from a file in their configuration folder.

use super::Result;
use serde::Deserialize;
use std::path::PathBuf;

/// Values for options that are not given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub model: Option<PathBuf>,
}

impl Settings {
    /// Returns the path of the file, whether it exists or not, or `None` for a user without a configuration folder.
    pub fn file() -> Option<PathBuf> {
        Some(dirs::config_dir()?.join("vitraux").join("config.toml"))
    }

    /// Reads the file; without one, nothing is set.
    pub fn read() -> Result<Settings> {
        let Some(file) = Settings::file() else { return Ok(Settings::default()) };
        let of_file = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            text => Ok(toml::from_str(&text.map_err(|error| of_file(&error))?)
                .map_err(|error| of_file(&format!("expected model = \"NAME\": {}", error.message())))?),
        }
    }
}
