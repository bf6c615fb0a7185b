//! Defaults of the user, from a file in their configuration folder.

use super::Result;
use serde::Deserialize;
use std::path::PathBuf;
use vitraux::low_level::read;

/// Maximum bytes of the file.
const LARGEST: u64 = 1 << 16;

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
        let wrong = |why: &str| format!("{}: expected model = \"NAME\": {why}", file.display());
        match read(&file, LARGEST) {
            Err(vitraux::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            text => Ok(toml::from_slice(&text?).map_err(|error| wrong(error.message()))?),
        }
    }
}
