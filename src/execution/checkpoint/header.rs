//! Header of a safetensors file. Only the header is read to find the tensors.
//!
//! Source: the format's description in huggingface/safetensors. Its crate wants all bytes of a file, even to read the header alone.

use super::kind::Kind;
use super::memory::{Contents, Stored};
use crate::data::error::{Error, Result};
use safetensors::tensor::Metadata;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Bytes before the header, which hold its length.
const PREFIX: usize = 8;

/// Bytes of a header, at most; the safetensors crate's limit.
const LARGEST_HEADER: usize = 100_000_000;

/// Bytes that show what a file is that has no header.
const START: usize = 4096;

/// Tensors and metadata of a file.
pub struct Header {
    pub tensors: HashMap<String, Stored>,
    /// The file's `__metadata__`.
    pub metadata: HashMap<String, String>,
}

/// Reads the header of a file, and checks it against the file's size.
pub fn read(path: &Path, contents: &Contents) -> Result<Header> {
    let len = contents.len();
    let prefix = contents.read(0..len.min(PREFIX))?;
    let size = prefix.as_ref().try_into().ok().and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes)).ok());
    let header = size.filter(|&size| size <= LARGEST_HEADER).map(|size| PREFIX + size).filter(|&end| end <= len);
    let bytes = contents.read(0..header.unwrap_or(len.min(START)))?;
    let damaged = |error: &str| Error::file(path, explain(&bytes, error));
    let Some(start) = header else {
        return Err(damaged("it does not contain the header whose length it starts with"));
    };
    let found: Metadata = serde_json::from_slice(&bytes[PREFIX..]).map_err(|error| damaged(&error.to_string()))?;
    let expected = start as u64 + found.data_len() as u64;
    if expected != len as u64 {
        return Err(damaged(&format!("expected {expected} bytes from its header, found {len}")));
    }
    let stored = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (from, to) = info.data_offsets;
        (name, Stored::new(info.dtype.to_string(), info.shape.clone(), contents.clone(), start + from..start + to))
    };
    Ok(Header { tensors: found.tensors().into_iter().map(stored).collect(), metadata: found.metadata().clone().unwrap_or_default() })
}

/// Explains why a file is not valid safetensors: its actual format, a tensor of unknown type, or the parser's error.
fn explain(bytes: &[u8], error: &str) -> String {
    // Some lengths of headers begin like a pickle.
    let has_header = bytes.get(PREFIX) == Some(&b'{');
    if let Some(kind) = Kind::of(bytes).filter(|_| !has_header) {
        return kind.advice().to_owned();
    }
    match bytes.get(PREFIX..).and_then(unknown_dtype) {
        Some((name, dtype)) => format!("tensor {name} has the unknown element type {dtype}"),
        None => format!("not a valid safetensors file ({error}); download it again"),
    }
}

/// Returns the first tensor of a well-formed header whose type is unknown to the safetensors crate.
fn unknown_dtype(header: &[u8]) -> Option<(String, String)> {
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).ok()?;
    let unknown = |value: &Value| serde_json::from_value::<safetensors::Dtype>(value.clone()).is_err();
    header.iter().filter(|(name, _)| *name != "__metadata__").find_map(|(name, info)| {
        let dtype = info.get("dtype").filter(|dtype| unknown(dtype))?;
        Some((name.clone(), dtype.to_string()))
    })
}
