//! Models in one file, without a configuration.

use super::files::Files;
use super::{Outline, facebook, jax};
use crate::data::config::Config;
use crate::data::error::Result;
use crate::execution::image::Preprocess;
use std::path::Path;

/// Kind of a model in one file.
#[derive(Clone, Copy)]
pub enum LoneFile {
    /// Google's npz file.
    Npz,
    /// Facebook's `.pth` file of DINOv2.
    Pytorch,
}

impl LoneFile {
    /// Returns the kind of a file, by its extension.
    pub fn of(path: &Path) -> Option<LoneFile> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            _ if path.is_dir() => None,
            "npz" => Some(LoneFile::Npz),
            "pth" | "pt" => Some(LoneFile::Pytorch),
            _ => None,
        }
    }

    /// Opens the tensors. A file of at least `mapped_from` bytes is memory-mapped.
    pub fn open(self, path: &Path, mapped_from: u64) -> Result<Files> {
        match self {
            LoneFile::Npz => Files::open_npz(path, mapped_from),
            LoneFile::Pytorch => Files::open_pytorch(path, mapped_from),
        }
    }

    pub fn outline(self, path: &Path, files: &Files) -> Result<Outline> {
        match self {
            LoneFile::Npz => jax::read(path, files),
            LoneFile::Pytorch => facebook::read(path, files),
        }
    }

    pub fn preprocess(self, path: &Path, config: &Config, image: Option<[usize; 2]>) -> Result<Preprocess> {
        match self {
            LoneFile::Npz => jax::preprocess(path, config, image),
            LoneFile::Pytorch => facebook::preprocess(path, config, image),
        }
    }
}
