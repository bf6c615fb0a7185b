//! What the tests share.

pub mod cli;
pub mod gpu;
pub mod host;
pub mod replay;
#[cfg(target_os = "linux")]
pub mod serving;
pub mod torch;

pub use vitraux::low_level::cases::{self, compare, reference};

use std::path::PathBuf;

/// A path within the repository.
pub fn path(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(relative)
}

/// A JSON file of the repository.
pub fn json(relative: &str) -> serde_json::Value {
    let text = std::fs::read(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{relative}: {error}"))
}
