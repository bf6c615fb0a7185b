//! Arrays of an npz file, a zip file of npy files. Stored entries are taken from the file when they are asked for; compressed ones are unpacked.
//!
//! Source: numpy's `lib/format.py`. The header is a Python literal. The crate that parses those pulls in a parser generator
//! and assembly, too much for the three fields needed here.

use super::memory::{Contents, ReadSeek, Stored, Unpacked};
use crate::data::error::{Error, Result};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Bytes that compressed entries may unpack to, on top of 16 times the file size: trained weights hardly compress.
const UNPACKED: u64 = 64 * 1024 * 1024;

/// Bytes of an npy file that its header takes at most: longer ones describe records, not numbers.
const LARGEST_HEADER: u64 = 1 << 16;

/// Finds the arrays. Their names are those of the entries, without `.npy`.
pub fn arrays(path: &Path, contents: &Contents) -> Result<HashMap<String, Stored>> {
    contents.with_reader(|reader| arrays_of(path, contents, reader))
}

fn arrays_of(path: &Path, contents: &Contents, reader: &mut dyn ReadSeek) -> Result<HashMap<String, Stored>> {
    let damaged = |message: String| Error::file(path, message);
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| damaged(format!("not an npz file ({error}); download it again")))?;
    if archive.has_duplicate_names() {
        return Err(damaged("two arrays have one name; expected one of them".to_owned()));
    }
    let mut left = UNPACKED + 16 * contents.len() as u64;
    let mut stored = 0usize;
    let mut arrays = HashMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|error| damaged(format!("entry {i}: {error}; download it again")))?;
        let name = entry.name().map_err(|error| damaged(format!("entry {i}: {error}")))?.into_owned();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let broken = |message: &str| damaged(format!("array {name}: {message}; download it again"));
        let (held, start, size, first): (Contents, usize, usize, Vec<u8>) = match (entry.compression(), entry.data_start()) {
            (zip::CompressionMethod::Stored, Some(start)) => {
                let (start, size) = (start as usize, entry.size() as usize);
                if start.checked_add(size).is_none_or(|end| end > contents.len()) {
                    return Err(broken("it extends beyond the end of the file"));
                }
                stored += size;
                if stored > contents.len() {
                    return Err(broken("it overlaps others"));
                }
                (contents.clone(), start, size, read(&mut entry, LARGEST_HEADER.min(size as u64)).map_err(|error| broken(&error))?)
            }
            _ => {
                // Grows with the unpacked bytes, not with the size that the entry claims.
                let bytes = read(&mut entry, left + 1).map_err(|error| broken(&error))?;
                left =
                    left.checked_sub(bytes.len() as u64).ok_or_else(|| broken("it unpacks to many times the file's size, which weights do not"))?;
                let first = bytes[..bytes.len().min(LARGEST_HEADER as usize)].to_vec();
                let size = bytes.len();
                (Contents::Shared(Arc::new(Unpacked(bytes))), 0, size, first)
            }
        };
        let (header, offset) = Header::read(&first).map_err(|message| broken(&message))?;
        let data = start + offset..start + size;
        if header.bytes().is_some_and(|len| len != data.len()) {
            return Err(broken(&format!("{} bytes of data do not match shape {:?} of {}", data.len(), header.shape, header.dtype)));
        }
        if arrays.insert(name.clone(), Stored::new(header.dtype, header.shape, held, data)).is_some() {
            return Err(damaged(format!("array {name}: stored twice; expected one of them")));
        }
    }
    Ok(arrays)
}

/// Reads at most `limit` bytes.
fn read(from: &mut impl Read, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Header of an npy file.
#[derive(Debug, PartialEq)]
struct Header {
    /// Type name as in safetensors, or the file's own if the type is unsupported, which is an error only once the array is requested.
    dtype: String,
    shape: Vec<usize>,
}

impl Header {
    /// Parses the header, and returns it with the offset of the data.
    fn read(bytes: &[u8]) -> std::result::Result<(Header, usize), String> {
        let (start, size): (usize, fn(&[u8]) -> usize) = match bytes.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _]) => (10, |size| usize::from(u16::from_le_bytes([size[0], size[1]]))),
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _]) => (12, |size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize),
            _ => return Err("not an npy file".to_owned()),
        };
        let end = bytes.get(8..start).map(|field| start.saturating_add(size(field)));
        let text = end.and_then(|end| bytes.get(start..end)).and_then(|text| std::str::from_utf8(text).ok()).ok_or("its header is truncated")?;
        let field = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let descr = field("descr").and_then(|rest| rest.split('\'').nth(1)).unwrap_or("an unknown type");
        let is_row_major = field("fortran_order").is_some_and(|rest| rest.starts_with("False"));
        let dtype = match descr {
            "<f4" if is_row_major => "F32".to_owned(),
            "<f2" if is_row_major => "F16".to_owned(),
            "<f8" if is_row_major => "F64".to_owned(),
            // Not a name of safetensors, which an array could bear.
            other if is_row_major => format!("numpy's {other}"),
            other => format!("numpy's {other} in Fortran order"),
        };
        let sizes = field("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')')).map(|(sizes, _)| sizes);
        let sizes = sizes.ok_or("its header has no shape")?.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().map_err(|_| format!("{size:?} is not a size"))).collect::<std::result::Result<_, _>>()?;
        Ok((Header { dtype, shape }, start + size(&bytes[8..start])))
    }

    /// Bytes of the data, if the type is known.
    fn bytes(&self) -> Option<usize> {
        let element = match self.dtype.as_str() {
            "F64" => 8usize,
            "F32" => 4,
            "F16" => 2,
            _ => return None,
        };
        Some(self.shape.iter().try_fold(element, |product, &size| product.checked_mul(size)).unwrap_or(usize::MAX))
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
    fn npy_headers_of_all_versions_parse() {
        for (version, start) in [(1, 10), (2, 12), (3, 12)] {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 3), }\n";
            let expected = Header { dtype: "F32".to_owned(), shape: vec![8, 3] };
            assert_eq!(Header::read(&npy(version, header)), Ok((expected, start + header.len())));
        }
        let scalar = npy(1, "{'shape': (), 'descr': '<f8', 'fortran_order': False}");
        assert_eq!(Header::read(&scalar).expect("a header").0, Header { dtype: "F64".to_owned(), shape: vec![] });
    }

    /// Unsupported arrays are allowed in a file as long as they are not requested.
    #[test]
    fn unsupported_npy_types_are_named() {
        for (descr, order, dtype) in
            [("|O", "False", "numpy's |O"), ("<f4", "True", "numpy's <f4 in Fortran order"), ("BF16", "False", "numpy's BF16")]
        {
            let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (8,), }}");
            let (header, _) = Header::read(&npy(1, &header)).expect("a header");
            assert_eq!((header.dtype.as_str(), header.bytes()), (dtype, None));
        }
    }

    #[test]
    fn malformed_npy_headers_are_rejected() {
        for header in ["{'descr': '<f4', 'fortran_order': False, 'shape': (-8,), }", "{'descr': '<f4', 'fortran_order': False, }", ""] {
            assert!(Header::read(&npy(1, header)).is_err(), "{header}");
        }
        for bytes in [b"".as_slice(), b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"PK\x03\x04...."] {
            assert!(Header::read(bytes).is_err());
        }
    }
}
