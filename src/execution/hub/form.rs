//! Completeness check by a file's own contents, for servers that give no hash. If a server announces too short a length,
//! the file is truncated and nothing else shows it.

use super::entry::Entry;
use super::failure::Failure;
use super::reference::Reference;
use super::remote::HubResult;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::check_pytorch;
use crate::execution::storage;
use safetensors::tensor::Metadata;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Maximum length of a safetensors header, by the specification.
const HEADER: u64 = 100_000_000;

/// What a file of weights must be, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Safetensors,
    Pytorch,
}

impl Form {
    /// Returns the form of a file of weights.
    pub fn of(name: &str) -> Option<Form> {
        match Path::new(name).extension()?.to_str()? {
            "safetensors" => Some(Form::Safetensors),
            "bin" => Some(Form::Pytorch),
            _ => None,
        }
    }
}

/// Checks a downloaded file.
pub fn check(reference: &Reference, entry: &Entry, path: &Path) -> HubResult<()> {
    let name = &entry.name;
    if let Some(largest) = entry.largest {
        return check_small(name, largest, path);
    }
    match Form::of(name) {
        // Contents with the hub's hash are what the hub has, however broken.
        _ if entry.sha256().is_some() => Ok(()),
        Some(Form::Safetensors) | None => check_safetensors(reference, name, path),
        Some(Form::Pytorch) => Ok(check_pytorch(path).map_err(|error| reference.error(format!("{name}: not whole ({error}); try again later")))?),
    }
}

/// Checks a file other than weights.
fn check_small(name: &str, largest: u64, path: &Path) -> HubResult<()> {
    let text = storage::read(path, largest)?;
    if !name.ends_with(".json") {
        return Ok(());
    }
    // The login page of a hotel network answers every request.
    let is_json = serde_json::from_slice::<IgnoredAny>(&text);
    is_json.map(drop).map_err(|error| Failure::Unreachable(format!("the response is not from the hub: {name} is not JSON: {error}")))
}

fn check_safetensors(reference: &Reference, name: &str, path: &Path) -> HubResult<()> {
    let found = path.metadata().map_err(Error::io(path))?.len();
    match own_length(path)? {
        Some(length) if length == found => Ok(()),
        Some(length) => {
            Err(reference.error(format!("{name}: expected {length} bytes according to its header, found {found}; try again later")).into())
        }
        None => Err(reference.error(format!("{name}: expected safetensors, found {found} bytes of something else; choose another revision")).into()),
    }
}

/// Returns the length that the first bytes of a safetensors file announce, once its header is complete. Other contents are an error.
pub fn announced(reference: &Reference, entry: &Entry, path: &Path, here: u64) -> HubResult<Option<u64>> {
    if Form::of(&entry.name) == Some(Form::Pytorch) {
        return Err(reference.error(format!("{}: the server does not tell its length; download it by other means", entry.name)).into());
    }
    let mut size = [0; 8];
    if here < 8 {
        return Ok(None);
    }
    File::open(path).and_then(|mut file| file.read_exact(&mut size)).map_err(Error::io(path))?;
    let size = u64::from_le_bytes(size);
    if size <= HEADER && here < 8 + size {
        return Ok(None);
    }
    let length = if size <= HEADER { own_length(path)? } else { None };
    length
        .map(Some)
        .ok_or_else(|| reference.error(format!("{}: expected safetensors, found something else; choose another revision", entry.name)).into())
}

/// Returns the length of a safetensors file according to its header, if it has one.
fn own_length(path: &Path) -> Result<Option<u64>> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let (mut size, mut header) = ([0; 8], Vec::new());
    if file.read_exact(&mut size).is_err() {
        return Ok(None);
    }
    let size = u64::from_le_bytes(size);
    file.take(size.min(HEADER)).read_to_end(&mut header).map_err(Error::io(path))?;
    let metadata = serde_json::from_slice::<Metadata>(&header).ok().filter(|_| header.len() as u64 == size);
    Ok(metadata.map(|metadata| (8 + size).saturating_add(metadata.data_len() as u64)))
}
