//! NumPy's files.

use super::output::replace_with;
use super::{Result, of_file};
use std::io::Write;
use std::path::Path;

/// Writes f32 values in NumPy's format, version 1.0: a header padded to a multiple of 64 bytes, then the values.
pub fn write(file: &Path, shape: &[usize], values: &[u8]) -> Result<()> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes.join(", "));
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let begin = [b"\x93NUMPY\x01\x00", (length as u16).to_le_bytes().as_slice()].concat();
    replace_with(file, |out| {
        let written = out.write_all(&begin).and_then(|()| writeln!(out, "{header:<width$}", width = length - 1)).and_then(|()| out.write_all(values));
        written.map_err(of_file(file))
    })
}
