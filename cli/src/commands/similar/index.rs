//! Index of image features, kept in a file between runs.

use crate::commands::images::{name, path_of, stamp};
use crate::commands::output::{check_replaceable, lock_for_replacement};
use crate::commands::tensors::write_tensors;
use crate::commands::{AnyError, Result, of_file};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use vitraux::low_level::checkpoint::metadata;
use vitraux::low_level::kind;

/// Name of the model's place in the metadata.
const SOURCE: &str = "source";

/// Unit-length feature vectors of images, each with the stamp that its file had before it was read.
pub struct Index {
    file: Option<PathBuf>,
    /// Fingerprint of the model that computed the features.
    model: String,
    /// Where that model was opened from.
    source: Option<String>,
    width: usize,
    kept: Kept,
    places: HashMap<String, usize>,
    /// Images of this run, with the stamps that their files had before any image was read.
    asked: HashMap<String, String>,
    /// Images of this run that the file lacks.
    added: HashSet<String>,
}

/// Contents of the file: a path, a stamp and a row of features per image.
#[derive(Default)]
struct Kept {
    names: Vec<String>,
    stamps: Vec<String>,
    rows: Vec<f32>,
}

impl Index {
    /// Reads the index of a model, or starts an empty one if there is no file.
    pub fn open(file: Option<&Path>, model: String, width: usize) -> Result<Index> {
        let kept = match file.filter(|file| file.exists()) {
            Some(file) => Kept::read(file, &model, width)?,
            None => Kept::default(),
        };
        let places = kept.names.iter().cloned().zip(0..).collect();
        Ok(Index { file: file.map(Path::to_owned), model, source: None, width, kept, places, asked: HashMap::new(), added: HashSet::new() })
    }

    /// Sets where the model was opened from, which the file tells those who search it.
    pub fn of(self, source: Option<String>) -> Index {
        Index { source, ..self }
    }

    /// Returns where the model of an index was opened from.
    pub fn source(file: &Path) -> Result<Option<String>> {
        Ok(metadata(file)?.remove(SOURCE))
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.kept.names.len()
    }

    /// Returns the images whose files still exist.
    pub fn present(&self) -> Vec<PathBuf> {
        self.kept.names.iter().map(|name| path_of(name)).filter(|path| path.exists()).collect()
    }

    /// Returns the number of images whose files have changed since they were read.
    pub fn changed(&self) -> usize {
        let has_changed = |(name, known): &(&String, &String)| stamp(&path_of(name)).is_some_and(|stamp| stamp != **known);
        self.kept.names.iter().zip(&self.kept.stamps).filter(has_changed).count()
    }

    /// Sets the images of a run, before the first of them is read. The next run then notices files that change in the meantime.
    pub fn ask(&mut self, images: &[PathBuf]) {
        self.asked = images.iter().map(|path| (name(path), stamp(path).unwrap_or_default())).collect();
    }

    /// Checks that the index file can be written, before features are computed.
    pub fn check_file(&self) -> Result<()> {
        self.file.as_deref().map_or(Ok(()), check_replaceable)
    }

    /// Returns true if the index is up to date for an image of this run.
    pub fn is_fresh(&self, image: &Path) -> bool {
        // Files without a stamp are read every time.
        self.asked.get(&name(image)).is_some_and(|stamp| !stamp.is_empty()) && self.place(&name(image)).is_some()
    }

    /// Adds an image, or updates its features and its stamp.
    pub fn insert(&mut self, image: &Path, vector: &[f32]) {
        let name = name(image);
        let stamp = self.asked.get(&name).cloned().unwrap_or_default();
        self.added.insert(name.clone());
        match self.places.get(&name) {
            Some(&place) => self.set(place, stamp, vector),
            None => self.push(name, stamp, vector),
        }
    }

    fn set(&mut self, place: usize, stamp: String, vector: &[f32]) {
        self.kept.stamps[place] = stamp;
        self.kept.rows[place * self.width..][..self.width].copy_from_slice(vector);
    }

    fn push(&mut self, name: String, stamp: String, vector: &[f32]) {
        self.places.insert(name.clone(), self.len());
        self.kept.names.push(name);
        self.kept.stamps.push(stamp);
        self.kept.rows.extend_from_slice(vector);
    }

    /// Returns the position of an image, or `None` if the index lacks it or has only an outdated version of an image of this run.
    pub fn place(&self, image: &str) -> Option<usize> {
        let place = *self.places.get(image)?;
        let is_current = self.asked.get(image).is_none_or(|stamp| *stamp == self.kept.stamps[place]);
        is_current.then_some(place)
    }

    /// Returns the image at a position.
    pub fn name(&self, place: usize) -> &str {
        &self.kept.names[place]
    }

    /// Returns the path of the image at a position.
    pub fn path(&self, place: usize) -> PathBuf {
        path_of(self.name(place))
    }

    /// Returns the unit-length features at a position.
    pub fn vector(&self, place: usize) -> &[f32] {
        &self.kept.rows[place * self.width..][..self.width]
    }

    /// Writes new entries to the file, if there is one, and takes those that another run has written in the meantime.
    pub fn save(&mut self) -> Result<()> {
        let Some(file) = self.file.clone().filter(|_| !self.added.is_empty()) else { return Ok(()) };
        // Runs that end together wait for each other.
        let _lock = lock_for_replacement(&file)?;
        if file.exists() {
            let others = Kept::read(&file, &self.model, self.width)?;
            for ((name, stamp), row) in others.names.into_iter().zip(others.stamps).zip(others.rows.chunks(self.width)) {
                match self.places.get(&name) {
                    Some(_) if self.added.contains(&name) => {}
                    Some(&place) => self.set(place, stamp, row),
                    None => self.push(name, stamp, row),
                }
            }
        }
        // Stored as byte tensors, because the size of a header is limited.
        let lists = [serde_json::to_vec(&self.kept.names)?, serde_json::to_vec(&self.kept.stamps)?];
        let [images, files] = lists.each_ref().map(|list| TensorView::new(Dtype::U8, vec![list.len()], list));
        let embeddings = TensorView::new(Dtype::F32, vec![self.len(), self.width], bytemuck::cast_slice(&self.kept.rows))?;
        let tensors = [("embeddings", embeddings), ("images", images?), ("files", files?)];
        let source = self.source.clone().map(|source| (SOURCE, source));
        let metadata = source.into_iter().chain([("model", self.model.clone())]).collect();
        write_tensors(tensors, Some(metadata), &file)?;
        self.added.clear();
        Ok(())
    }
}

impl Kept {
    /// Reads a file, which must be an index of this model.
    fn read(file: &Path, model: &str, width: usize) -> Result<Kept> {
        let none = |what: &str| format!("expected an index written by `vitraux similar`, {what}");
        let foreign = |error: AnyError| -> AnyError { format!("{}: {error}; choose another --index, or remove this file", file.display()).into() };
        // Reading a pipe would block until it is closed.
        if let Some(other) = kind(file).map_err(of_file(file))? {
            return Err(foreign(none(&format!("found {other}")).into()));
        }
        let bytes = std::fs::read(file).map_err(of_file(file))?;
        let parse = || -> Result<Kept> {
            let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| none(&format!("found no safetensors file: {error}")))?;
            match header.metadata().as_ref().and_then(|metadata| metadata.get("model")) {
                None => return Err(none("found no model in its metadata").into()),
                Some(other) if other != model => return Err(format!("it holds features of {other}, not of {model}").into()),
                Some(_) => {}
            }
            let tensors = SafeTensors::deserialize(&bytes)?;
            let list = |name: &str| -> Result<Vec<String>> { Ok(serde_json::from_slice(tensors.tensor(name)?.data())?) };
            let (names, stamps, embeddings) = (list("images")?, list("files")?, tensors.tensor("embeddings")?);
            if embeddings.dtype() != Dtype::F32 || embeddings.shape() != [names.len(), width] || stamps.len() != names.len() {
                let (count, found) = (names.len(), embeddings.shape());
                return Err(none(&format!("with embeddings [{count}, {width}], found {found:?} {:?}", embeddings.dtype())).into());
            }
            Ok(Kept { names, stamps, rows: bytemuck::pod_collect_to_vec(embeddings.data()) })
        };
        parse().map_err(foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_runs_merge_their_index_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("index.safetensors");
        let open = || Index::open(Some(&file), "a model".to_owned(), 2).expect("an index");
        let image = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).expect("it is written");
            path
        };
        let (a, b) = (image("a.png"), image("b.png"));
        let (mut first, mut second) = (open(), open());
        first.ask(std::slice::from_ref(&a));
        second.ask(std::slice::from_ref(&b));
        first.insert(&a, &[1.0, 0.0]);
        second.insert(&b, &[0.0, 1.0]);
        first.save().and_then(|()| second.save()).expect("they are saved");
        let mut both = open();
        both.ask(&[a.clone(), b.clone()]);
        assert!(both.len() == 2 && both.is_fresh(&a) && both.is_fresh(&b));
        assert_eq!([&a, &b].map(|path| both.vector(both.place(&name(path)).expect("it is there")).to_vec()), [[1.0, 0.0], [0.0, 1.0]]);
        // Of an image that both know, the row of the run that has read it is kept.
        let (mut first, mut second) = (open(), open());
        first.insert(&b, &[0.0, 1.0]);
        second.insert(&a, &[0.6, 0.8]);
        second.save().and_then(|()| first.save()).expect("they are saved");
        let latest = open();
        assert_eq!(latest.vector(latest.place(&name(&a)).expect("it is there")), [0.6, 0.8]);
        // A file that has changed since it was indexed is not fresh.
        assert_eq!(open().changed(), 2, "no stamps");
        std::fs::write(&a, "another image").expect("it is written");
        let mut later = open();
        assert!(both.place(&name(&a)).is_some(), "this run has seen what it was");
        later.ask(std::slice::from_ref(&a));
        assert!(!later.is_fresh(&a) && later.place(&name(&a)).is_none());
    }
}
