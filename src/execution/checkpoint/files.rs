//! Tensors of a checkpoint: one safetensors file, shards with an index, or an npz file.

use super::folder::Folder;
use super::header::{self, Header};
use super::json::Object;
use super::memory::{Contents, Embedded, Stored};
use super::npz;
use crate::data::error::{Error, Result};
use crate::data::tensor::{Dtype, Tensor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors by name.
pub struct Files {
    /// File or folder named in messages.
    path: PathBuf,
    tensors: HashMap<String, Stored>,
    /// Metadata of a single safetensors file.
    metadata: HashMap<String, String>,
}

impl Files {
    /// Opens the tensors of a checkpoint folder. Files of at least `mapped_from` bytes are memory-mapped, others are read.
    pub fn open(folder: &Folder, mapped_from: u64) -> Result<Files> {
        if folder.has(FILE) {
            return Files::read(&folder.path().join(FILE), &folder.contents(FILE, mapped_from)?);
        }
        match folder.object(INDEX)? {
            Some(index) => Files::open_shards(folder, &index, mapped_from),
            None => Err(missing(folder)),
        }
    }

    /// Opens the tensors of one safetensors file, which are read.
    pub fn open_file(path: &Path) -> Result<Files> {
        Files::read(path, &Contents::open(path, u64::MAX)?)
    }

    /// Opens the arrays of one npz file. It is memory-mapped if it has at least `mapped_from` bytes.
    pub fn open_npz(path: &Path, mapped_from: u64) -> Result<Files> {
        let tensors = npz::arrays(path, &Contents::open(path, mapped_from)?)?;
        Ok(Files { path: path.to_owned(), tensors, metadata: HashMap::new() })
    }

    /// Opens the tensors of a safetensors file in memory.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Files> {
        Files::read(Path::new(name), &Contents::Shared(Arc::new(Embedded(bytes))))
    }

    fn read(path: &Path, contents: &Contents) -> Result<Files> {
        let Header { tensors, metadata } = header::read(path, contents)?;
        Ok(Files { path: path.to_owned(), tensors, metadata })
    }

    fn open_shards(folder: &Folder, index: &Object, mapped_from: u64) -> Result<Files> {
        let map = index.object("weight_map")?.ok_or_else(|| index.wrong("weight_map", "an object that maps tensors to files"))?;
        let mut places = BTreeMap::new();
        for name in map.keys() {
            let shard = map.string(name)?.ok_or_else(|| map.wrong(name, "a file name"))?;
            if Path::new(shard).file_name() != Some(shard.as_ref()) {
                return Err(index.error(format!("weight_map places {name} in {shard:?}; expected the name of a file in the same folder")));
            }
            places.insert(name, shard);
        }
        let mut tensors = HashMap::new();
        for shard in places.values().copied().collect::<BTreeSet<_>>() {
            let path = folder.path().join(shard);
            if !folder.has(shard) {
                return Err(Error::file(&path, format!("no such file, but {INDEX} names it; download all shards")));
            }
            let mut found = Files::read(&path, &folder.contents(shard, mapped_from)?)?.tensors;
            for name in places.iter().filter(|(_, place)| **place == shard).map(|(name, _)| *name) {
                let stored = found.remove(name).ok_or_else(|| Error::tensor(name, format!("not in {shard}, where {INDEX} places it")))?;
                tensors.insert(name.to_owned(), stored);
            }
        }
        Ok(Files { path: folder.path().to_owned(), tensors, metadata: HashMap::new() })
    }

    /// Strips `prefix` from the names that have it.
    pub fn without_prefix(self, prefix: &str) -> Files {
        let shorter = |name: String| name.strip_prefix(prefix).map_or(name.clone(), str::to_owned);
        Files { tensors: self.tensors.into_iter().map(|(name, stored)| (shorter(name), stored)).collect(), ..self }
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns a metadata string stored with the tensors.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Returns all metadata stored with the tensors.
    pub fn into_metadata(self) -> HashMap<String, String> {
        self.metadata
    }

    /// Whether a tensor of this name exists.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns a tensor's shape.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.find(name)?.shape)
    }

    fn find(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| Error::tensor(name, format!("not in {}, which has {} tensors", self.path.display(), self.tensors.len())))
    }

    /// Returns a floating-point tensor of any shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.typed(name, &[("F32", Dtype::F32), ("F16", Dtype::F16), ("BF16", Dtype::Bf16), ("F64", Dtype::F64)])
    }

    /// Returns a boolean tensor; nonzero is true.
    pub fn mask(&self, name: &str) -> Result<Tensor> {
        self.typed(name, &[("BOOL", Dtype::U8), ("U8", Dtype::U8), ("I64", Dtype::I64), ("F32", Dtype::F32)])
    }

    fn typed(&self, name: &str, known: &[(&str, Dtype)]) -> Result<Tensor> {
        let stored = self.find(name)?;
        match known.iter().find(|(dtype, _)| *dtype == stored.dtype) {
            Some((_, dtype)) => stored.tensor(*dtype),
            None => {
                let known: Vec<&str> = known.iter().map(|(dtype, _)| *dtype).collect();
                Err(Error::tensor(name, format!("expected {}, found {}", known.join(", "), stored.dtype)))
            }
        }
    }

    /// Returns a tensor of this shape, ignoring leading axes of size 1 (a class token is `[1, 1, C]` or `[C]`).
    pub fn shaped(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        match without_ones(tensor.shape()) == without_ones(shape) {
            true => Ok(tensor.reshaped(shape.to_vec())),
            false => Err(Error::tensor(
                name,
                format!("expected shape {shape:?} from the configuration, found {:?} in {}", tensor.shape(), self.path.display()),
            )),
        }
    }

    /// Returns a convolution `[out, in, height, width]`, which may be stored as the equivalent matrix.
    pub fn convolution(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let matrix = [shape[0], shape[1..].iter().product()];
        match self.shape(name)? == matrix {
            true => Ok(self.tensor(name)?.reshaped(shape.to_vec())),
            false => self.shaped(name, shape),
        }
    }
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&size| size == 1).count();
    &shape[ones..]
}

/// Builds the error for a folder without safetensors, naming what it has instead.
fn missing(folder: &Folder) -> Error {
    let path = folder.path();
    if !folder.exists() {
        return Error::file(path, format!("no such folder; expected one with config.json and {FILE}"));
    }
    let pickles = ["pytorch_model.bin", "model.pth", "pytorch_model.bin.index.json"];
    match pickles.iter().find(|name| folder.has(name)) {
        Some(name) => Error::file(
            path.join(name),
            format!("a PyTorch pickle, which can run code when loaded, is not supported; convert it to {FILE} (safetensors.torch.save_file)"),
        ),
        None => Error::file(path, format!("expected {FILE} or {INDEX} in this folder, found neither")),
    }
}
