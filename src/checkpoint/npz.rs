//! Arrays of an npz file: a zip file whose entries are npy files. Stored entries are used where they lie,
//! compressed ones are unpacked.
//!
//! Source: numpy's `lib/format.py`. Its header is a Python literal; the crate that reads those brings a
//! parser generator and assembly with it, for the three fields that are needed here.

use super::memory::{Stored, Unpacked};
use crate::error::{Error, Result};
use crate::tensor::Bytes;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Finds the arrays; a name is the entry's without `.npy`.
pub fn arrays(path: &Path, memory: Arc<dyn Bytes>) -> Result<HashMap<String, Stored>> {
    let damaged = |message: String| Error::file(path, message);
    let mut archive =
        zip::ZipArchive::new(Cursor::new(memory.bytes())).map_err(|error| damaged(format!("not an npz file ({error}); download it again")))?;
    let mut arrays = HashMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|error| damaged(format!("entry {i}: {error}; download it again")))?;
        let name = entry.name().map_err(|error| damaged(format!("entry {i}: {error}")))?.trim_end_matches(".npy").to_owned();
        let broken = |message: &str| damaged(format!("array {name}: {message}; download it again"));
        let (held, range): (Arc<dyn Bytes>, Range<usize>) = match (entry.compression(), entry.data_start()) {
            (zip::CompressionMethod::Stored, Some(start)) => {
                let start = start as usize;
                (memory.clone(), start..start.saturating_add(entry.size() as usize))
            }
            _ => {
                // Grows with what is unpacked, not with the size that the entry claims.
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|error| broken(&error.to_string()))?;
                let len = bytes.len();
                (Arc::new(Unpacked(bytes)), 0..len)
            }
        };
        let bytes = held.bytes().get(range.clone()).ok_or_else(|| broken("it reaches beyond the end of the file"))?;
        let (header, data) = Header::read(bytes).map_err(|message| broken(&message))?;
        let len = header.bytes().filter(|len| data.checked_add(*len) == Some(bytes.len()));
        let len = len.ok_or_else(|| broken(&format!("{} bytes of data do not hold {:?} of {}", bytes.len() - data, header.shape, header.dtype)))?;
        let range = range.start + data..range.start + data + len;
        arrays.insert(name.clone(), Stored { dtype: header.dtype.to_owned(), shape: header.shape, memory: held.clone(), range });
    }
    Ok(arrays)
}

/// What an npy file says of its array.
#[derive(Debug, PartialEq)]
struct Header {
    /// As safetensors calls it.
    dtype: &'static str,
    shape: Vec<usize>,
}

impl Header {
    /// The header, and where the data begin.
    fn read(bytes: &[u8]) -> std::result::Result<(Header, usize), String> {
        let (start, size): (usize, fn(&[u8]) -> usize) = match bytes.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _]) => (10, |size| usize::from(u16::from_le_bytes([size[0], size[1]]))),
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _]) => (12, |size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize),
            _ => return Err("not a npy file".to_owned()),
        };
        let end = bytes.get(8..start).map(|field| start.saturating_add(size(field)));
        let text = end.and_then(|end| bytes.get(start..end)).and_then(|text| std::str::from_utf8(text).ok()).ok_or("its header is cut off")?;
        let field = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let dtype = match field("descr").and_then(|rest| rest.split('\'').nth(1)) {
            Some("<f4") => "F32",
            Some("<f2") => "F16",
            Some("<f8") => "F64",
            Some("<i8") => "I64",
            Some("<i4") => "I32",
            other => return Err(format!("element type {} is not supported; supported: <f2, <f4, <f8", other.unwrap_or("unknown"))),
        };
        if !field("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
            return Err("arrays in Fortran order are not supported".to_owned());
        }
        let sizes = field("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')')).map(|(sizes, _)| sizes);
        let sizes = sizes.ok_or("its header has no shape")?.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().map_err(|_| format!("{size:?} is no size"))).collect::<std::result::Result<_, _>>()?;
        Ok((Header { dtype, shape }, start + size(&bytes[8..start])))
    }

    /// Bytes of the data.
    fn bytes(&self) -> Option<usize> {
        let element = match self.dtype {
            "F64" | "I64" => 8usize,
            "F16" => 2,
            _ => 4,
        };
        self.shape.iter().try_fold(element, |product, &size| product.checked_mul(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, header: &str) -> Vec<u8> {
        let size = header.len() as u32;
        let size = if version == 1 { size.to_le_bytes()[..2].to_vec() } else { size.to_le_bytes().to_vec() };
        [b"\x93NUMPY", [version, 0].as_slice(), &size, header.as_bytes()].concat()
    }

    #[test]
    fn headers_of_all_versions_are_read() {
        for (version, start) in [(1, 10), (2, 12), (3, 12)] {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 3), }\n";
            let expected = Header { dtype: "F32", shape: vec![8, 3] };
            assert_eq!(Header::read(&npy(version, header)), Ok((expected, start + header.len())));
        }
        let scalar = npy(1, "{'shape': (), 'descr': '<f8', 'fortran_order': False}");
        assert_eq!(Header::read(&scalar).expect("a header").0, Header { dtype: "F64", shape: vec![] });
    }

    #[test]
    fn wrong_headers_are_errors() {
        for header in [
            "{'descr': '|O', 'fortran_order': False, 'shape': (8,), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (8,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-8,), }",
            "{'descr': '<f4', 'fortran_order': False, }",
            "",
        ] {
            assert!(Header::read(&npy(1, header)).is_err(), "{header}");
        }
        for bytes in [b"".as_slice(), b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"PK\x03\x04...."] {
            assert!(Header::read(bytes).is_err());
        }
    }
}
