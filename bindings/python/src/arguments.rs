//! Arguments of `load`.

use std::path::PathBuf;

/// Arguments of `load`, from which another process can load the model again.
#[derive(Clone)]
pub struct Arguments {
    pub model: PathBuf,
    pub device: String,
    pub precision: String,
}
