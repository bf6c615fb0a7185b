//! The container of `torch.save` since PyTorch 1.6: a zip file with a pickle, `data.pkl`, and an uncompressed entry per storage.
//!
//! Source: `torch/serialization.py` (`_save`, `_load`) and `caffe2/serialize/inline_container.cc`.

use super::{LARGEST_PICKLE, Parsed, Places, quoted};
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::memory::{Contents, ReadSeek};
use std::io::Read;
use std::path::Path;

/// The entry with the pickle, in a folder named after the file.
const PICKLE: &str = "/data.pkl";

/// Bytes of the entry that states the byte order, at most.
const LONGEST_WORD: usize = 16;

/// Returns the pickle, and where the storages are in the file.
pub fn read(path: &Path, contents: &Contents) -> Result<(Vec<u8>, Places)> {
    contents.with_reader(|reader| entries(contents, reader).map_err(|message| Error::file(path, message)))
}

fn entries(contents: &Contents, reader: &mut dyn ReadSeek) -> Parsed<(Vec<u8>, Places)> {
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| format!("not a whole zip file ({error}); download it again"))?;
    // Entries that overlap, are there twice or are hidden mean different things to different readers.
    archive.validate_header_consistency().map_err(|error| format!("not a sound zip file ({error}); download it again"))?;
    let folder = archive.file_names().find_map(|name| name.ok()?.strip_suffix(PICKLE).map(str::to_owned));
    let folder = folder.ok_or("a zip file without data.pkl; expected one that torch.save wrote")?;
    let (mut pickle, mut places) = (None, Places::new());
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|error| format!("entry {i}: {error}; download it again"))?;
        let full = entry.name().map_err(|error| format!("entry {i}: {error}"))?.into_owned();
        let Some(name) = full.strip_prefix(&folder).and_then(|name| name.strip_prefix('/')) else { continue };
        let broken = |what: &str| format!("entry {}: {what}", quoted(&full));
        if let Some(key) = name.strip_prefix("data/") {
            if entry.compression() != zip::CompressionMethod::Stored {
                return Err(broken("compressed, which torch.save does not do; unpack the file and save it again"));
            }
            let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
            let range = start.zip(usize::try_from(entry.size()).ok()).and_then(|(start, size)| Some(start..start.checked_add(size)?));
            let range = range.filter(|range| range.end <= contents.len()).ok_or_else(|| broken("it exceeds the file; download it again"))?;
            places.insert(key.to_owned(), range);
        } else if name == "data.pkl" {
            pickle = Some(unpacked(entry, LARGEST_PICKLE).map_err(|error| broken(&error))?);
        } else if name == "byteorder" {
            let order = unpacked(entry, LONGEST_WORD).map_err(|error| broken(&error))?;
            if order != b"little" {
                return Err(broken(&format!(
                    "expected little, found {}; save it on a little-endian machine",
                    quoted(&String::from_utf8_lossy(&order))
                )));
            }
        }
    }
    Ok((pickle.ok_or("its data.pkl cannot be found; download it again")?, places))
}

/// Reads an entry of at most `limit` bytes, whatever size it claims.
fn unpacked(entry: impl Read, limit: usize) -> Parsed<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| format!("{error}; download the file again"))?;
    match bytes.len() <= limit {
        true => Ok(bytes),
        false => Err(format!("larger than {limit} bytes, which no checkpoint needs")),
    }
}
