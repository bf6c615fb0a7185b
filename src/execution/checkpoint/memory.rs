//! Memory behind stored tensors: mapped files, or byte buffers.

use crate::data::error::{Error, Result};
use crate::data::tensor::Bytes;
use crate::execution::storage;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A stored tensor, whose type is checked on access.
pub struct Stored {
    /// Type name as in safetensors.
    pub dtype: String,
    pub shape: Vec<usize>,
    pub memory: Arc<dyn Bytes>,
    pub range: Range<usize>,
}

/// A memory-mapped file.
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    pub fn open(path: &Path) -> Result<Mapped> {
        let file = storage::open(path)?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Err(Error::file(path, "the file is empty; download it again"));
        }
        // SAFETY: mapped read-only. As with every mapping, another process that truncates the file while it is in
        // use terminates this one; the alternative, a copy of the weights in memory, costs more.
        unsafe { memmap2::Mmap::map(&file) }.map(Mapped).map_err(Error::io(path))
    }
}

impl Bytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            // Only whole pages within the range: pages shared with neighbours stay.
            const PAGE: usize = 16 * 1024;
            let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
            if start < end {
                // SAFETY: the mapping is read-only and backed by the file, so dropped pages are read from it again at
                // the next access, with the same contents.
                let released = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
                if let Err(error) = released {
                    log::debug!("pages stay resident: {error}");
                }
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

/// Bytes embedded in the program.
pub struct Embedded(pub &'static [u8]);

impl Bytes for Embedded {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn release(&self, _: Range<usize>) {}
}

/// Unpacked bytes.
pub struct Unpacked(pub Vec<u8>);

impl Bytes for Unpacked {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn release(&self, _: Range<usize>) {}
}
