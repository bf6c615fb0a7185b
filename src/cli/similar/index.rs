//! Features of pictures, kept in a file between runs.

use crate::cli::Result;
use crate::cli::fingerprint::fingerprint;
use crate::cli::pictures::name;
use crate::cli::tensors::{check_output, write_tensors};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use vitraux::Checkpoint;

/// Vectors of length 1 of pictures, each with what its file was like when it was read.
pub struct Index {
    file: Option<PathBuf>,
    /// Which model's features they are.
    model: String,
    width: usize,
    names: Vec<String>,
    stamps: Vec<String>,
    rows: Vec<f32>,
    places: HashMap<String, usize>,
    /// Pictures that this run is about; what a picture of another run has become does not matter.
    expected: HashSet<String>,
    has_changed: bool,
}

impl Index {
    /// Reads an index, or begins one. It must be of this model.
    pub fn open(file: Option<&Path>, checkpoint: &Checkpoint, width: usize) -> Result<Index> {
        file.map_or(Ok(()), check_output)?;
        let model = fingerprint(checkpoint);
        let mut index = Index {
            file: file.map(Path::to_owned),
            model,
            width,
            names: Vec::new(),
            stamps: Vec::new(),
            rows: Vec::new(),
            places: HashMap::new(),
            expected: HashSet::new(),
            has_changed: false,
        };
        if let Some(file) = file.filter(|file| file.exists()) {
            let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            index.read(&bytes).map_err(|error| format!("{}: {error}; give another --index, or remove that file", file.display()))?;
        }
        Ok(index)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let none = |what: &str| format!("expected an index as `vitraux similar` writes it, {what}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| none(&format!("found no safetensors: {error}")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &str| metadata.get(key).ok_or_else(|| none(&format!("found none with {key}")));
        let model = entry("model")?;
        if *model != self.model {
            return Err(format!("it has features of {model}, not of {}", self.model).into());
        }
        let list = |key: &str| -> Result<Vec<String>> { Ok(serde_json::from_str(entry(key)?)?) };
        (self.names, self.stamps) = (list("images")?, list("files")?);
        let tensors = SafeTensors::deserialize(bytes)?;
        let embeddings = tensors.tensor("embeddings")?;
        if embeddings.dtype() != safetensors::Dtype::F32
            || embeddings.shape() != [self.names.len(), self.width]
            || self.stamps.len() != self.names.len()
        {
            let (count, found) = (self.names.len(), embeddings.shape());
            return Err(none(&format!("with embeddings [{count}, {}], found {found:?} {:?}", self.width, embeddings.dtype())).into());
        }
        self.rows = bytemuck::pod_collect_to_vec(embeddings.data());
        self.places = self.names.iter().cloned().zip(0..).collect();
        Ok(())
    }

    /// The pictures of the index whose files are there.
    pub fn present(&self) -> Vec<String> {
        self.names.iter().filter(|name| Path::new(name).exists()).cloned().collect()
    }

    /// Says which pictures a run is about.
    pub fn expect(&mut self, pictures: &[PathBuf]) {
        self.expected = pictures.iter().map(|path| name(path)).collect();
    }

    /// Whether it has a picture as its file is now.
    pub fn is_fresh(&self, picture: &Path) -> bool {
        let place = self.places.get(&name(picture));
        place.is_some_and(|place| stamp(picture).is_some_and(|stamp| stamp == self.stamps[*place]))
    }

    /// Adds a picture, or what it has become.
    pub fn insert(&mut self, picture: &Path, vector: &[f32]) {
        let (name, stamp) = (name(picture), stamp(picture).unwrap_or_default());
        self.has_changed = true;
        match self.places.get(&name) {
            Some(&place) => {
                self.stamps[place] = stamp;
                self.rows[place * self.width..][..self.width].copy_from_slice(vector);
            }
            None => {
                self.places.insert(name.clone(), self.names.len());
                self.names.push(name);
                self.stamps.push(stamp);
                self.rows.extend_from_slice(vector);
            }
        }
    }

    /// Where a picture is, unless this run is about it and could not read what it has become.
    pub fn place(&self, picture: &str) -> Option<usize> {
        let place = *self.places.get(picture)?;
        let is_current = !self.expected.contains(picture) || self.is_fresh(Path::new(picture));
        is_current.then_some(place)
    }

    /// The picture at a place.
    pub fn name(&self, place: usize) -> &str {
        &self.names[place]
    }

    /// Its features, of length 1.
    pub fn vector(&self, place: usize) -> &[f32] {
        &self.rows[place * self.width..][..self.width]
    }

    /// Writes what is new to the file, if there is one; who reads it meanwhile has either the old one or the new one.
    pub fn save(&mut self) -> Result<()> {
        let Some(file) = self.file.as_deref().filter(|_| self.has_changed) else { return Ok(()) };
        let view = TensorView::new(safetensors::Dtype::F32, vec![self.names.len(), self.width], bytemuck::cast_slice(&self.rows))?;
        let metadata = HashMap::from([
            ("model".to_owned(), self.model.clone()),
            ("images".to_owned(), serde_json::to_string(&self.names)?),
            ("files".to_owned(), serde_json::to_string(&self.stamps)?),
        ]);
        write_tensors([("embeddings", view)], metadata, file)?;
        self.has_changed = false;
        Ok(())
    }
}

/// The size of a file and when it was changed.
fn stamp(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), changed.as_nanos()))
}
