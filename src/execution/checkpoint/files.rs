//! Tensors of a checkpoint: one file of safetensors or PyTorch, shards with an index, or an npz file; and what an adapter changes of them.

use super::folder::Folder;
use super::header::{self, Header};
use super::json::Object;
use super::low_rank::LowRank;
use super::memory::{Contents, Embedded, Stored};
use super::{CONFIG, OPEN_CLIP_CONFIG, PROCESSOR, PROCESSORS, adapter, npz, pytorch};
use crate::data::error::{Error, Result};
use crate::data::tensor::{Dtype, Tensor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How tensors are stored in a file.
#[derive(Clone, Copy)]
pub enum Format {
    Safetensors,
    Pytorch,
    /// The same; of a training checkpoint, the weights' moving averages, where it has them.
    PytorchAveraged,
}

/// Where tensors are in a folder.
#[derive(Clone, Copy)]
pub enum Place {
    File(&'static str),
    Index(&'static str),
}

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Names of weights in the order in which transformers looks for them; then timm's and other programs' names.
pub const MODEL: [(Place, Format); 6] = model(Format::Pytorch);

/// The same for timm, which prefers moving averages (`use_ema` of its `load_state_dict`).
pub const TIMM: [(Place, Format); 6] = model(Format::PytorchAveraged);

const fn model(pytorch: Format) -> [(Place, Format); 6] {
    [
        (Place::File(FILE), Format::Safetensors),
        (Place::Index(INDEX), Format::Safetensors),
        (Place::File("pytorch_model.bin"), pytorch),
        (Place::Index("pytorch_model.bin.index.json"), pytorch),
        (Place::File("pytorch_model.pt"), pytorch),
        (Place::File("model.pth"), pytorch),
    ]
}

/// Names of open_clip's weights.
pub const OPEN_CLIP: [(Place, Format); 2] =
    [(Place::File("open_clip_model.safetensors"), Format::Safetensors), (Place::File("open_clip_pytorch_model.bin"), Format::Pytorch)];

/// Names of an adapter's tensors.
pub const ADAPTER: [(Place, Format); 2] =
    [(Place::File("adapter_model.safetensors"), Format::Safetensors), (Place::File("adapter_model.bin"), Format::Pytorch)];

/// Names of the weights and configurations of a folder: those of single files, not of shards.
pub fn names_in_folder() -> impl Iterator<Item = &'static str> {
    let weights = MODEL.iter().chain(&OPEN_CLIP).chain(&ADAPTER).filter_map(|(place, _)| match place {
        Place::File(name) => Some(*name),
        Place::Index(_) => None,
    });
    weights.chain([CONFIG, OPEN_CLIP_CONFIG, PROCESSOR, PROCESSORS, adapter::CONFIG])
}

/// Prefixes that PyTorch's `DataParallel` and `compile` give every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Tensors by name.
pub struct Files {
    /// File or folder named in messages.
    path: PathBuf,
    tensors: HashMap<String, Stored>,
    /// Metadata of a single safetensors file.
    metadata: HashMap<String, String>,
    /// Updates of tensors by an adapter.
    updates: HashMap<String, LowRank>,
}

impl Files {
    /// Opens the tensors of a folder, which are in the first of `places` that it has. Files of at least `mapped_from` bytes are memory-mapped, others are read.
    pub fn open(folder: &Folder, places: &[(Place, Format)], mapped_from: u64) -> Result<Files> {
        for &(place, format) in places {
            match place {
                Place::File(file) if folder.has(file) => {
                    return format.read(&folder.path().join(file), &folder.contents(file, mapped_from)?)?.unwrapped();
                }
                Place::Index(name) => {
                    if let Some(index) = folder.object(name)? {
                        return Files::open_shards(folder, (name, &index), format, mapped_from)?.unwrapped();
                    }
                }
                Place::File(_) => {}
            }
        }
        Err(missing(folder, places))
    }

    /// Opens the tensors of one file of PyTorch. It is memory-mapped if it has at least `mapped_from` bytes.
    pub fn open_pytorch(path: &Path, mapped_from: u64) -> Result<Files> {
        Format::Pytorch.read(path, &Contents::open(path, mapped_from)?)?.unwrapped()
    }

    /// Opens the tensors of one safetensors file, which are read.
    pub fn open_file(path: &Path) -> Result<Files> {
        Format::Safetensors.read(path, &Contents::open(path, u64::MAX)?)
    }

    /// Opens the arrays of one npz file. It is memory-mapped if it has at least `mapped_from` bytes.
    pub fn open_npz(path: &Path, mapped_from: u64) -> Result<Files> {
        let tensors = npz::arrays(path, &Contents::open(path, mapped_from)?)?;
        Ok(Files { path: path.to_owned(), tensors, metadata: HashMap::new(), updates: HashMap::new() })
    }

    /// Opens the tensors of a safetensors file in memory.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Files> {
        Format::Safetensors.read(Path::new(name), &Contents::Shared(Arc::new(Embedded(bytes))))
    }

    fn open_shards(folder: &Folder, (name, index): (&str, &Object), format: Format, mapped_from: u64) -> Result<Files> {
        let map = index.object("weight_map")?.ok_or_else(|| index.wrong("weight_map", "an object that maps tensors to files"))?;
        let mut places = BTreeMap::new();
        for tensor in map.keys() {
            let shard = map.string(tensor)?.ok_or_else(|| map.wrong(tensor, "a file name"))?;
            if Path::new(shard).file_name() != Some(shard.as_ref()) {
                return Err(index.error(format!("weight_map places {tensor} in {shard:?}; expected the name of a file in the same folder")));
            }
            places.insert(tensor, shard);
        }
        let mut tensors = HashMap::new();
        for shard in places.values().copied().collect::<BTreeSet<_>>() {
            let path = folder.path().join(shard);
            if !folder.has(shard) {
                return Err(Error::file(&path, format!("no such file, but {name} names it; download all shards")));
            }
            let mut found = format.read(&path, &folder.contents(shard, mapped_from)?)?.tensors;
            for tensor in places.iter().filter(|(_, place)| **place == shard).map(|(tensor, _)| *tensor) {
                let stored = found.remove(tensor).ok_or_else(|| Error::tensor(tensor, format!("not in {shard}, where {name} places it")))?;
                tensors.insert(tensor.to_owned(), stored);
            }
        }
        Ok(Files { path: folder.path().to_owned(), tensors, metadata: HashMap::new(), updates: HashMap::new() })
    }

    /// Strips the prefixes of at most two wrappers, in whatever order they are.
    fn unwrapped(mut self) -> Result<Files> {
        for _ in WRAPPERS {
            let is_of_all = |prefix: &&&str| !self.tensors.is_empty() && self.tensors.keys().all(|name| name.starts_with(**prefix));
            match WRAPPERS.iter().find(is_of_all) {
                Some(prefix) => self = self.without_prefix(prefix)?,
                None => break,
            }
        }
        Ok(self)
    }

    /// Strips `prefix` from the names that have it.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is one of the shorter name already.
    pub fn without_prefix(self, prefix: &str) -> Result<Files> {
        let mut tensors = HashMap::with_capacity(self.tensors.len());
        for (name, stored) in self.tensors {
            let shorter = name.strip_prefix(prefix).unwrap_or(&name);
            if tensors.insert(shorter.to_owned(), stored).is_some() {
                return Err(Error::tensor(shorter, format!("stored twice, as {prefix}{shorter} too; expected one of them")));
            }
        }
        Ok(Files { tensors, ..self })
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

    /// Returns the sizes of a tensor's axes. There must be exactly `AXES` of them, none 0.
    pub fn sizes<const AXES: usize>(&self, name: &str) -> Result<&[usize; AXES]> {
        let shape = self.shape(name)?;
        let expected = || Error::tensor(name, format!("expected {AXES} axes of 1 to 1048576 elements, found {shape:?}"));
        let sizes: &[usize; AXES] = shape.try_into().map_err(|_| expected())?;
        if sizes.iter().all(|size| (1..=1 << 20).contains(size)) { Ok(sizes) } else { Err(expected()) }
    }

    fn find(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| Error::tensor(name, format!("not in {}, which has {} tensors", self.path.display(), self.tensors.len())))
    }

    /// Takes a tensor out, as it is stored.
    pub fn take(&mut self, name: &str) -> Option<Stored> {
        self.tensors.remove(name)
    }

    /// Adds a tensor, in place of another of its name.
    pub fn replace(&mut self, name: String, by: Stored) {
        self.tensors.insert(name, by);
    }

    /// Adds an update of a tensor, in place of an earlier one.
    pub fn update(&mut self, name: String, by: LowRank) {
        self.updates.insert(name, by);
    }

    /// Returns a floating-point tensor of any shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let tensor = self.typed(name, &[("F32", Dtype::F32), ("F16", Dtype::F16), ("BF16", Dtype::Bf16), ("F64", Dtype::F64)])?;
        match self.updates.get(name) {
            None => Ok(tensor),
            Some(update) => update.added(name, &tensor),
        }
    }

    /// Returns a boolean tensor; nonzero is true.
    pub fn mask(&self, name: &str) -> Result<Tensor> {
        self.typed(name, &[("BOOL", Dtype::U8), ("U8", Dtype::U8), ("I64", Dtype::I64), ("F32", Dtype::F32)])
    }

    /// Returns a tensor of integers.
    pub fn integers(&self, name: &str) -> Result<Tensor> {
        self.typed(name, &[("I64", Dtype::I64)])
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

impl Format {
    fn read(self, path: &Path, contents: &Contents) -> Result<Files> {
        let of_pytorch = |averaged| Ok::<Header, Error>(Header { tensors: pytorch::read(path, contents, averaged)?, metadata: HashMap::new() });
        let Header { tensors, metadata } = match self {
            Format::Safetensors => header::read(path, contents)?,
            Format::Pytorch => of_pytorch(false)?,
            Format::PytorchAveraged => of_pytorch(true)?,
        };
        Ok(Files { path: path.to_owned(), tensors, metadata, updates: HashMap::new() })
    }
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&size| size == 1).count();
    &shape[ones..]
}

/// Builds the error for a folder with none of `places`.
fn missing(folder: &Folder, places: &[(Place, Format)]) -> Error {
    let names: Vec<&str> = places.iter().map(|(Place::File(name) | Place::Index(name), _)| *name).collect();
    match folder.exists() {
        true => Error::file(folder.path(), format!("expected one of {} in this folder, found none", names.join(", "))),
        false => Error::file(folder.path(), format!("no such folder; expected one with {}", names[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_distinct_without_their_prefix() {
        let of = |names: [&str; 2]| {
            let view = || safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![1], &[7]).expect("a tensor");
            let bytes = safetensors::serialize(names.map(|name| (name, view())), None).expect("bytes");
            Files::embedded("a.safetensors", bytes.leak()).expect("tensors").without_prefix("visual.")
        };
        let mut names: Vec<String> = of(["visual.a", "b"]).expect("two tensors").names().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        let error = of(["visual.a", "a"]).err().expect("one name").to_string();
        assert!(error.contains("stored twice, as visual.a too"), "{error}");
    }
}
