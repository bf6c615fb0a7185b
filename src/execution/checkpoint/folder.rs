//! Folders of checkpoints: in the file system, or of given files.

use super::json::LARGEST_JSON;
use super::json::Object;
use super::memory::{Contents, Reader};
use crate::data::error::{Error, Result};
use crate::execution::storage;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder with the files of a checkpoint.
#[derive(Clone)]
pub enum Folder {
    /// In the file system.
    Stored(PathBuf),
    /// Given files by name.
    Given {
        /// Name in messages.
        name: PathBuf,
        files: BTreeMap<String, Reader>,
    },
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(f)
    }
}

impl Folder {
    /// Returns its path, or its name in messages.
    pub fn path(&self) -> &Path {
        match self {
            Folder::Stored(path) => path,
            Folder::Given { name, .. } => name,
        }
    }

    /// Returns whether it exists.
    pub fn exists(&self) -> bool {
        match self {
            Folder::Stored(path) => path.is_dir(),
            Folder::Given { .. } => true,
        }
    }

    /// Returns whether it has a file.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Folder::Stored(path) => path.join(file).exists(),
            Folder::Given { files, .. } => files.contains_key(file),
        }
    }

    /// Parses a JSON file, if it exists.
    pub fn object(&self, file: &str) -> Result<Option<Object>> {
        let path = self.path().join(file);
        match self {
            Folder::Stored(_) => Object::open(&path),
            Folder::Given { files, .. } if !files.contains_key(file) => Ok(None),
            Folder::Given { .. } => match self.contents(file, 0)? {
                contents if contents.len() as u64 > LARGEST_JSON => Err(storage::too_large(&path, LARGEST_JSON)),
                contents => Object::parse(&path, &contents.read(0..contents.len())?).map(Some),
            },
        }
    }

    /// Reads a file of at most `limit` bytes.
    #[cfg(feature = "text")]
    pub fn read(&self, file: &str, limit: u64) -> Result<Vec<u8>> {
        match self {
            Folder::Stored(path) => storage::read(&path.join(file), limit),
            Folder::Given { .. } => match self.contents(file, 0)? {
                contents if contents.len() as u64 > limit => Err(storage::too_large(&self.path().join(file), limit)),
                contents => Ok(contents.read(0..contents.len())?.into_owned()),
            },
        }
    }

    /// Opens a file. In the file system, it is memory-mapped if it has at least `mapped_from` bytes.
    pub fn contents(&self, file: &str, mapped_from: u64) -> Result<Contents> {
        match self {
            Folder::Stored(path) => Contents::open(&path.join(file), mapped_from),
            Folder::Given { name, files } => match files.get(file) {
                Some(given) => Contents::given(&name.join(file), given.clone()),
                None => Err(Error::file(name.join(file), "no such file among those given")),
            },
        }
    }
}
