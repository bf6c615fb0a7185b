//! NumPy's files.

use super::output::replace_with;
use super::{Result, of_file};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Start of every file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Bytes before the header, in version 1.0.
const START: u64 = 10;

/// Returns whether a file is one of NumPy's.
pub fn is(file: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *MAGIC
}

/// Returns whether a file has all values that its header announces, in f32, and so many rows.
pub fn is_whole(file: &Path, rows: usize) -> std::io::Result<bool> {
    let mut opened = File::open(file)?;
    let len = opened.metadata()?.len();
    let mut bytes = Vec::new();
    Read::take(&mut opened, START + u64::from(u16::MAX)).read_to_end(&mut bytes)?;
    let header = || {
        let size = u64::from(u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?));
        let text = str::from_utf8(bytes.get(START as usize..(START + size) as usize)?).ok()?;
        let (sizes, _) = text.split_once("'shape': (")?.1.split_once(')')?;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok());
        Some((START + size, sizes.collect::<Option<Vec<u64>>>()?))
    };
    Ok(header().is_some_and(|(start, shape)| {
        let values = shape.iter().try_fold(4u64, |product, size| product.checked_mul(*size));
        shape.first() == Some(&(rows as u64)) && values.and_then(|values| values.checked_add(start)) == Some(len)
    }))
}

/// Writes f32 values in NumPy's format, version 1.0: a header padded to a multiple of 64 bytes, then the values.
pub fn write(file: &Path, shape: &[usize], values: &[u8]) -> Result<()> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes.join(", "));
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let begin = [MAGIC.as_slice(), &[1, 0], &(length as u16).to_le_bytes()].concat();
    replace_with(file, |out| {
        let written = out.write_all(&begin).and_then(|()| writeln!(out, "{header:<width$}", width = length - 1)).and_then(|()| out.write_all(values));
        written.map_err(of_file(file))
    })
}
