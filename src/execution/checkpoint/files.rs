//! Tensors of a checkpoint, read in place: one safetensors file, shards with an index, or an npz file, memory-mapped.

use super::json::Object;
use super::memory::{Embedded, Mapped, Stored};
use super::npz;
use crate::data::error::{Error, Result};
use crate::data::tensor::{Bytes, Dtype, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;
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
    /// Opens the tensors of a checkpoint folder.
    pub fn open(folder: &Path) -> Result<Files> {
        if folder.join(FILE).exists() {
            return Files::open_file(&folder.join(FILE));
        }
        match Object::open(&folder.join(INDEX))? {
            Some(index) => Files::open_shards(folder, &index),
            None => Err(missing(folder)),
        }
    }

    /// Opens the tensors of one safetensors file.
    pub fn open_file(path: &Path) -> Result<Files> {
        Files::read(path, Arc::new(Mapped::open(path)?))
    }

    /// Opens the arrays of one npz file.
    pub fn open_npz(path: &Path) -> Result<Files> {
        let tensors = npz::arrays(path, Arc::new(Mapped::open(path)?))?;
        Ok(Files { path: path.to_owned(), tensors, metadata: HashMap::new() })
    }

    /// Opens the tensors of a safetensors file in memory.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Files> {
        Files::read(Path::new(name), Arc::new(Embedded(bytes)))
    }

    fn read(path: &Path, memory: Arc<dyn Bytes>) -> Result<Files> {
        let mut tensors = HashMap::new();
        let bytes = memory.bytes();
        let parsed = SafeTensors::deserialize(bytes).map_err(|error| Error::file(path, explain(bytes, &error.to_string())))?;
        for (name, view) in parsed.iter() {
            let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            let stored = Stored {
                dtype: view.dtype().to_string(),
                shape: view.shape().to_vec(),
                memory: memory.clone(),
                range: start..start + view.data().len(),
            };
            tensors.insert(name.to_owned(), stored);
        }
        let metadata = SafeTensors::read_metadata(bytes).ok().and_then(|(_, metadata)| metadata.metadata().clone()).unwrap_or_default();
        Ok(Files { path: path.to_owned(), tensors, metadata })
    }

    fn open_shards(folder: &Path, index: &Object) -> Result<Files> {
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
            let path = folder.join(shard);
            if !path.exists() {
                return Err(Error::file(&path, format!("no such file, but {INDEX} names it; download all shards")));
            }
            let mut found = Files::read(&path, Arc::new(Mapped::open(&path)?))?.tensors;
            for name in places.iter().filter(|(_, place)| **place == shard).map(|(name, _)| *name) {
                let stored = found.remove(name).ok_or_else(|| Error::tensor(name, format!("not in {shard}, where {INDEX} places it")))?;
                tensors.insert(name.to_owned(), stored);
            }
        }
        Ok(Files { path: folder.to_owned(), tensors, metadata: HashMap::new() })
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
            Some((_, dtype)) => Ok(Tensor::view(stored.shape.clone(), *dtype, stored.memory.clone(), stored.range.clone())),
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
fn missing(folder: &Path) -> Error {
    if !folder.is_dir() {
        return Error::file(folder, format!("no such folder; expected one with config.json and {FILE}"));
    }
    let pickles = ["pytorch_model.bin", "model.pth", "pytorch_model.bin.index.json"];
    match pickles.iter().find(|name| folder.join(name).exists()) {
        Some(name) => Error::file(
            folder.join(name),
            format!("a PyTorch pickle, which can run code when loaded, is not supported; convert it to {FILE} (safetensors.torch.save_file)"),
        ),
        None => Error::file(folder, format!("expected {FILE} or {INDEX} in this folder, found neither")),
    }
}

/// Explains why a file is not valid safetensors: its actual format, a tensor of unknown type, or the parser's error.
fn explain(bytes: &[u8], error: &str) -> String {
    let starts: [(&[u8], &str); 4] = [
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
        (b"PK\x03\x04", "a PyTorch zip file with a pickle, not safetensors; convert it with safetensors.torch.save_file"),
        (b"\x80\x02", "a PyTorch pickle, not safetensors; convert it with safetensors.torch.save_file"),
        (b"<", "a web page, not safetensors; download the file itself"),
    ];
    if let Some((_, what)) = starts.iter().find(|(start, _)| bytes.starts_with(start)) {
        return (*what).to_owned();
    }
    match unknown_dtype(bytes) {
        Some((name, dtype)) => format!("tensor {name} has the unknown element type {dtype}"),
        None => format!("not a valid safetensors file ({error}); download it again"),
    }
}

/// Returns the first tensor of a well-formed header whose type is unknown to the safetensors crate.
fn unknown_dtype(bytes: &[u8]) -> Option<(String, String)> {
    let length = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(bytes.get(8..length.checked_add(8)?)?).ok()?;
    let unknown = |value: &Value| serde_json::from_value::<safetensors::Dtype>(value.clone()).is_err();
    header.iter().filter(|(name, _)| *name != "__metadata__").find_map(|(name, info)| {
        let dtype = info.get("dtype").filter(|dtype| unknown(dtype))?;
        Some((name.clone(), dtype.to_string()))
    })
}
