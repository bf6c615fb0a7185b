//! Folders of checkpoints: in the file system, or in memory.

use super::json::Object;
use super::memory::{Contents, Unpacked};
use crate::data::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder with the files of a checkpoint.
#[derive(Clone, Debug)]
pub enum Folder {
    /// In the file system.
    Stored(PathBuf),
    /// In memory: files by name.
    Memory {
        /// Name in messages.
        name: PathBuf,
        files: BTreeMap<String, Arc<Unpacked>>,
    },
}

impl Folder {
    /// Returns its path, or its name in messages.
    pub fn path(&self) -> &Path {
        match self {
            Folder::Stored(path) => path,
            Folder::Memory { name, .. } => name,
        }
    }

    /// Returns whether it exists.
    pub fn exists(&self) -> bool {
        match self {
            Folder::Stored(path) => path.is_dir(),
            Folder::Memory { .. } => true,
        }
    }

    /// Returns whether it has a file.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Folder::Stored(path) => path.join(file).exists(),
            Folder::Memory { files, .. } => files.contains_key(file),
        }
    }

    /// Parses a JSON file, if it exists.
    pub fn object(&self, file: &str) -> Result<Option<Object>> {
        let path = self.path().join(file);
        match self {
            Folder::Stored(_) => Object::open(&path),
            Folder::Memory { files, .. } => files.get(file).map(|file| Object::parse(&path, &file.0)).transpose(),
        }
    }

    /// Opens a file. In the file system, it is memory-mapped if it has at least `mapped_from` bytes.
    pub fn contents(&self, file: &str, mapped_from: u64) -> Result<Contents> {
        match self {
            Folder::Stored(path) => Contents::open(&path.join(file), mapped_from),
            Folder::Memory { name, files } => match files.get(file) {
                Some(bytes) => Ok(Contents::Memory(bytes.clone())),
                None => Err(Error::file(name.join(file), "no such file in memory")),
            },
        }
    }
}
