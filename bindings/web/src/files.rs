//! Files of checkpoints in the browser's storage.

use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use std::io::{Error, ErrorKind};
use vitraux::ReadAt;
use wasm_bindgen::JsValue;
use web_sys::{Blob, FileReaderSync};

/// A `Blob`, of which each range is read when it is asked for: its contents are never in memory as a whole. Workers alone can do that.
pub struct BlobFile(SendWrapper<Blob>);

impl BlobFile {
    pub fn new(blob: Blob) -> BlobFile {
        BlobFile(SendWrapper::new(blob))
    }
}

impl ReadAt for BlobFile {
    fn size(&self) -> u64 {
        self.0.size() as u64
    }

    fn read_at(&self, start: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        let end = start + bytes.len() as u64;
        let range = self.0.slice_with_f64_and_f64(start as f64, end as f64).map_err(failed)?;
        let read = FileReaderSync::new().and_then(|reader| reader.read_as_array_buffer(&range)).map_err(failed)?;
        let read = Uint8Array::new(&read);
        if read.length() as usize != bytes.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        read.copy_to(bytes);
        Ok(())
    }
}

fn failed(exception: JsValue) -> Error {
    Error::other(format!("{exception:?}"))
}
