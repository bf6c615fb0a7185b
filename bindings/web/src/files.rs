//! Files of checkpoints in the browser's storage.

use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use wasm_bindgen::JsValue;
use web_sys::{Blob, FileReaderSync};

/// A `Blob`, of which each range is read when it is asked for: its contents are never in memory as a whole. Workers alone can do that.
pub struct BlobFile {
    blob: SendWrapper<Blob>,
    position: u64,
}

impl BlobFile {
    pub fn new(blob: Blob) -> BlobFile {
        BlobFile { blob: SendWrapper::new(blob), position: 0 }
    }
}

impl Read for BlobFile {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let end = self.position + bytes.len() as u64;
        let range = self.blob.slice_with_f64_and_f64(self.position as f64, end as f64).map_err(failed)?;
        let read = FileReaderSync::new().and_then(|reader| reader.read_as_array_buffer(&range)).map_err(failed)?;
        let read = Uint8Array::new(&read);
        let count = read.length() as usize;
        read.copy_to(&mut bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for BlobFile {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => (self.blob.size() as u64).checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

fn failed(exception: JsValue) -> Error {
    Error::other(format!("{exception:?}"))
}
