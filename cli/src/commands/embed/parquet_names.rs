//! Paths of the images in a Parquet file that an earlier run wrote, read with the `parquet` crate, which panics on some damaged files and skips billions
//! of missing elements in others.

use crate::commands::Result;
use crate::commands::guard::guarded_within;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::RowAccessor;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// Returns the paths of the images, and the description of the vectors if there is one.
pub fn names_in_parquet(file: &Path) -> Result<(HashSet<String>, Option<String>)> {
    let file = File::open(file)?;
    // Whole files take a hundredth of this.
    let limit = Duration::from_secs(4 + (file.len() >> 20));
    let names = guarded_within(limit, || read(file).map_err(|error| error.to_string())).unwrap_or_else(|| Err("the file is damaged".to_owned()));
    Ok(names?)
}

fn read(file: File) -> Result<(HashSet<String>, Option<String>)> {
    let reader = SerializedFileReader::new(Checked(file))?;
    let properties = reader.metadata().file_metadata().key_value_metadata();
    let of = properties.and_then(|pairs| pairs.iter().find(|pair| pair.key == "of")?.value.clone());
    let images = parquet::schema::parser::parse_message_type("message images { REQUIRED BYTE_ARRAY image (UTF8); }")?;
    let names = reader.get_row_iter(Some(images))?.map(|row| Ok(row?.get_string(0)?.clone())).collect::<Result<_>>()?;
    Ok((names, of))
}

/// A file of which no more is asked for than it has.
struct Checked(File);

impl Length for Checked {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Checked {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> ParquetResult<BufReader<File>> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Reserved before it is read.
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.len()) {
            return Err(ParquetError::EOF(format!("expected {length} bytes at {start}, found {} in all", self.0.len())));
        }
        self.0.get_bytes(start, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Found by fuzzing: lists of two billion elements that are not there, in a page header and in the footer.
    #[test]
    fn endless_lists_are_errors() {
        for bytes in [
            &include_bytes!("../../../../tests/fixtures/parquet/endless-list.parquet")[..],
            include_bytes!("../../../../tests/fixtures/parquet/endless-footer.parquet"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("a.parquet");
            std::fs::write(&file, bytes).expect("written");
            let start = Instant::now();
            assert!(names_in_parquet(&file).is_err());
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    }
}
