//! Paths of the images in a Parquet file that an earlier run wrote, read with the `parquet` crate, which panics on some damaged files and skips billions
//! of missing elements in others.

use crate::commands::Result;
use crate::commands::guard::guarded_within;
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::RowAccessor;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// Compression of the pages that we write.
pub const COMPRESSION: Compression = Compression::SNAPPY;

/// How many bytes each byte of a page can become: Snappy copies 64 by 3.
const MOST: u64 = 22;

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
    let mut columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    if let Some(other) = columns.find(|column| column.compression() != COMPRESSION) {
        return Err(format!("expected columns compressed by {COMPRESSION}, found {}", other.compression()).into());
    }
    let properties = reader.metadata().file_metadata().key_value_metadata();
    let of = properties.and_then(|pairs| pairs.iter().find(|pair| pair.key == "of")?.value.clone());
    let images = parquet::schema::parser::parse_message_type("message images { REQUIRED BYTE_ARRAY image (UTF8); }")?;
    let names = reader.get_row_iter(Some(images))?.map(|row| Ok(row?.get_string(0)?.clone())).collect::<Result<_>>()?;
    Ok((names, of))
}

/// A file of which no more is asked for than it has, and whose pages unpack to no more than they can.
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
        let bytes = self.0.get_bytes(start, length)?;
        // Reserved before it is unpacked.
        match unpacked_len(&bytes) > MOST * length as u64 {
            true => Err(ParquetError::General(format!("{length} bytes at {start} cannot be unpacked to {}", unpacked_len(&bytes)))),
            false => Ok(bytes),
        }
    }
}

/// Returns the unpacked size that a page begins with, as a number of 7 bits per byte.
fn unpacked_len(page: &[u8]) -> u64 {
    let digits = page.iter().take(5).scan(true, |goes_on, byte| {
        let digit = goes_on.then_some(u64::from(byte & 0x7F));
        *goes_on &= byte & 0x80 != 0;
        digit
    });
    digits.zip(0..).map(|(digit, place)| digit << (7 * place)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A page of some bytes that claims two billion.
    #[test]
    fn pages_that_claim_too_much_are_errors() {
        assert_eq!([&[][..], &[5], &[0xF0, 0xFF, 0xFF, 0xFF, 0x07, 9]].map(unpacked_len), [0, 5, 0x7FFF_FFF0]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.parquet");
        std::fs::write(&file, include_bytes!("../../../../tests/fixtures/parquet/endless-page.parquet")).expect("written");
        assert!(names_in_parquet(&file).expect_err("it claims too much").to_string().contains("cannot be unpacked to 2147483632"));
    }

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
