//! Paths of the images in a Parquet file that an earlier run wrote, read with the `parquet` crate, which panics on some damaged files and skips billions
//! of missing bytes in others.

use crate::commands::Result;
use crate::commands::guard::guarded;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::RowAccessor;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read};
use std::path::Path;

/// Returns the paths of the images, and the description of the vectors if there is one.
pub fn names_in_parquet(file: &Path) -> Result<(HashSet<String>, Option<String>)> {
    let file = File::open(file)?;
    guarded(|| read(file)).unwrap_or_else(|| Err("the file is damaged".into()))
}

fn read(file: File) -> Result<(HashSet<String>, Option<String>)> {
    let reader = SerializedFileReader::new(Ending(file))?;
    let properties = reader.metadata().file_metadata().key_value_metadata();
    let of = properties.and_then(|pairs| pairs.iter().find(|pair| pair.key == "of")?.value.clone());
    let images = parquet::schema::parser::parse_message_type("message images { REQUIRED BYTE_ARRAY image (UTF8); }")?;
    let names = reader.get_row_iter(Some(images))?.map(|row| Ok(row?.get_string(0)?.clone())).collect::<Result<_>>()?;
    Ok((names, of))
}

/// A file that may be read beyond its end only a few times.
struct Ending(File);

/// Reads of nothing that a whole file causes at the most: one for each page header, with some to spare.
const ENDS: usize = 64;

impl Length for Ending {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Ending {
    type T = EndingRead;

    fn get_read(&self, start: u64) -> ParquetResult<EndingRead> {
        Ok(EndingRead { inner: self.0.get_read(start)?, ends: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Reserved before it is read.
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.len()) {
            return Err(ParquetError::EOF(format!("expected {length} bytes at {start}, found {} in all", self.0.len())));
        }
        self.0.get_bytes(start, length)
    }
}

struct EndingRead {
    inner: BufReader<File>,
    /// Reads of nothing so far.
    ends: usize,
}

impl Read for EndingRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.ends += 1;
            if self.ends > ENDS {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the file is damaged: it ends too early"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: a page header with a list of two billion elements that are not there.
    #[test]
    fn lists_beyond_the_end_are_errors() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.parquet");
        std::fs::write(&file, include_bytes!("../../../../fuzz/seeds/array/endless-list.parquet")).expect("written");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(names_in_parquet(&file).is_err()));
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(60)), Ok(true));
    }
}
