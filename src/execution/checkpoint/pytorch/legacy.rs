//! The container of `torch.save` before PyTorch 1.6: five pickles in a row, and the storages behind them, each after its number of elements.
//!
//! Source: `torch/serialization.py` (`_legacy_save`, `_legacy_load`).

use super::value::{Heap, Value};
use super::{Parsed, Places, machine, quoted};
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::memory::Contents;
use std::path::Path;

/// First value of a file, 0x1950a86a20f9469cfc6c.
const MAGIC: Value<'_> = Value::Long(&[0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19]);

/// Version of the container.
const VERSION: Value<'_> = Value::Int(1001);

/// Bytes before a storage, which hold its number of elements.
const COUNT: usize = 8;

/// Runs the pickles at the `start` of a file. Returns the value that was saved, and where the storages are.
pub fn read<'a>(heap: &mut Heap<'a>, start: &'a [u8], path: &Path, contents: &Contents) -> Result<(Value<'a>, Places)> {
    let damaged = |message: String| Error::file(path, message);
    let (root, keys, end) = pickles(heap, start).map_err(damaged)?;
    let storages = heap.storages().map_err(damaged)?;
    let (mut places, mut place) = (Places::new(), end);
    for key in keys {
        let storage = storages.get(key).ok_or_else(|| damaged(format!("storage {}: no tensor says what it holds", quoted(key))))?;
        let cut = || damaged(format!("storage {}: it exceeds the file; download it again", quoted(key)));
        let data = place.checked_add(COUNT).filter(|&data| data <= contents.len()).ok_or_else(cut)?;
        let count = contents.read(place..data)?;
        if count.as_ref() != (storage.len as u64).to_le_bytes() {
            return Err(damaged(format!("storage {}: expected a count of {} elements before them, found another", quoted(key), storage.len)));
        }
        place = data.checked_add(storage.bytes()).filter(|&end| end <= contents.len()).ok_or_else(cut)?;
        if places.insert(key.to_owned(), data..place).is_some() {
            return Err(damaged(format!("storage {}: it is listed twice", quoted(key))));
        }
    }
    match contents.len() - place {
        0 => Ok((root, places)),
        more => Err(damaged(format!("expected the end of the file after the last storage, found {more} more bytes"))),
    }
}

/// Runs the pickles. Returns the value that was saved, the keys of the storages in their order, and the end of the last pickle.
fn pickles<'a>(heap: &mut Heap<'a>, start: &'a [u8]) -> Parsed<(Value<'a>, Vec<&'a str>, usize)> {
    let mut end = 0;
    let mut next = || {
        let (value, len) = machine::run(heap, &start[end..])?;
        end += len;
        Ok::<_, String>(value)
    };
    if next()? != MAGIC {
        return Err("a pickle, but not one that torch.save wrote; expected the weights of a model".to_owned());
    }
    if next()? != VERSION {
        return Err("expected version 1001 of torch's format, found another; save it again".to_owned());
    }
    let [system, root, keys] = [next()?, next()?, next()?];
    if heap.get(system, "little_endian") != Some(Value::Bool(true)) {
        return Err("expected little-endian numbers, found others; save it on a little-endian machine".to_owned());
    }
    let keys = heap.list(keys).ok_or("expected a list of storages, found something else")?;
    let keys = keys.iter().map(|key| match key {
        Value::Text(key) => Ok(*key),
        _ => Err("expected keys of storages, found something else".to_owned()),
    });
    Ok((root, keys.collect::<Parsed<_>>()?, end))
}
