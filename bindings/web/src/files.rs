//! Files that arrive in pieces.

use crate::failure::raised;
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;

/// Files of a checkpoint, which are filled piece by piece, so that no copy of them is on the side of JavaScript.
#[wasm_bindgen]
#[derive(Default)]
pub struct Files(BTreeMap<String, Vec<u8>>);

#[wasm_bindgen]
impl Files {
    #[wasm_bindgen(constructor)]
    pub fn new() -> Files {
        Files::default()
    }

    /// Begins a file of about so many bytes.
    ///
    /// # Errors
    /// If WebAssembly's memory is too small.
    pub fn begin(&mut self, name: String, bytes: usize) -> Result<(), JsValue> {
        let mut file = Vec::new();
        if file.try_reserve_exact(bytes).is_err() {
            let (device, what) = ("WebAssembly".to_owned(), format!("{name} of {} MiB", bytes >> 20));
            return Err(raised(&vitraux::Error::OutOfMemory { device, what }));
        }
        self.0.insert(name, file);
        Ok(())
    }

    /// Appends a piece to a file that has begun.
    pub fn push(&mut self, name: &str, piece: &[u8]) {
        if let Some(file) = self.0.get_mut(name) {
            file.extend_from_slice(piece);
        }
    }
}

impl IntoIterator for Files {
    type Item = (String, Vec<u8>);
    type IntoIter = std::collections::btree_map::IntoIter<String, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
