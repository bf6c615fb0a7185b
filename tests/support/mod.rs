//! What the tests share.

pub mod cli;
#[cfg(target_os = "linux")]
pub mod faults;
pub mod gpu;
pub mod host;
pub mod replay;
#[cfg(target_os = "linux")]
pub mod serving;
pub mod torch;

pub use vitraux::low_level::cases::{self, compare, reference};

use std::path::PathBuf;
use vitraux::low_level::checkpoint::is_lone_file;

/// A path within the repository.
pub fn path(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(relative)
}

/// Path to open for a fixture: its folder, or the only file of a model without a configuration.
pub fn model_in(folder: PathBuf) -> PathBuf {
    let mut files = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_configured = ["config.json", "open_clip_config.json"].iter().any(|config| folder.join(config).exists());
    files.find(|path| !is_configured && is_lone_file(path)).unwrap_or(folder)
}

/// A JSON file of the repository.
pub fn json(relative: &str) -> serde_json::Value {
    let text = std::fs::read(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{relative}: {error}"))
}
