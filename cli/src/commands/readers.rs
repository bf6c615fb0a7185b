//! Readers of files from earlier runs and of requests, for fuzzing. Each returns whether it accepts its input.

use super::be_quiet;
use super::bench::CompareArgs;
use super::embed::{Format, Store, check_complete};
use super::images::{Archive, Form, Lines};
use super::maps::description_of;
pub use super::serve::reads_request as request;
use super::similar::Index;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Index of `similar`, of vectors of this length.
pub fn index(file: &Path, model: &str, width: usize) -> bool {
    Index::open(Some(file), model.to_owned(), width).is_ok_and(|index| (0..index.len()).all(|place| index.vector(place).len() == width))
}

/// Lines of `classify` to resume, in CSV or JSON.
pub fn lines(file: &Path, model: &str, head: Option<&str>) -> bool {
    let form = if head.is_some() { Form::table() } else { Form::objects("{\"device\":", "model", model.to_owned()) };
    Lines::resume(file, head, &form).is_ok()
}

/// Rows of `embed` to resume, in `FILE.part` and `FILE.part.names`.
pub fn rows(file: &Path, vectors: &str, width: usize) -> bool {
    Store::open(file, Format::Npy, vectors.to_owned(), width, true).is_ok()
}

/// A complete array of `embed`, whose images `--resume` compares.
pub fn array(file: &Path, vectors: &str, image: &str) -> bool {
    be_quiet(true);
    let format = if file.extension().is_some_and(|extension| extension == "parquet") { Format::Parquet } else { Format::Safetensors };
    check_complete(file, format, vectors, &[PathBuf::from(image)]).is_ok()
}

/// Measurements for `bench --compare`.
pub fn baseline(file: &Path, conditions: &Value) -> bool {
    be_quiet(true);
    CompareArgs::of(file).open("kernels", conditions).is_ok()
}

/// A map of `attention`, which `--resume` recognises by its description.
pub fn map(file: &Path) -> bool {
    description_of(file).is_some()
}

/// An archive of `embed --shards`, all of whose images are read.
pub fn archive(file: &Path) -> bool {
    Archive::open(file).is_ok_and(|(archive, images)| images.iter().all(|image| archive.read(image).is_ok()))
}
