//! Contents of checkpoint files: read range by range, memory-mapped, or already in memory.

use super::strides::Strides;
use crate::data::error::{Error, Result};
use crate::data::tensor::{Bytes, Dtype, Place, Ranges, Tensor};
use crate::execution::storage;
use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::{BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Size in bytes from which a file is memory-mapped by default. Smaller files are read, so that nothing happens if another program truncates
/// them.
pub const MAPPED_FROM: u64 = 256 * 1024 * 1024;

/// Contents of a file.
#[derive(Clone)]
pub enum Contents {
    /// Mapped, unpacked, embedded or given: tensors refer to it.
    Shared(Arc<dyn Bytes>),
    /// In an open file, from which a tensor is read when it is asked for.
    File(Arc<OpenFile>),
}

/// An open file and the size that it had when it was opened.
pub struct OpenFile {
    path: PathBuf,
    file: Reader,
    len: usize,
}

/// Shared reader of a file.
pub type Reader = Arc<Mutex<dyn ReadSeek + Send>>;

impl Contents {
    /// Opens a file. It is mapped if it has at least `mapped_from` bytes.
    pub fn open(path: &Path, mapped_from: u64) -> Result<Contents> {
        let file = storage::open(path)?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        if len == 0 {
            return Err(Error::file(path, "the file is empty; download it again"));
        }
        match len >= mapped_from {
            true => Ok(Contents::Shared(Arc::new(Mapped::new(path, file)?))),
            false => Ok(Contents::File(Arc::new(OpenFile { path: path.to_owned(), file: Arc::new(Mutex::new(file)), len: len as usize }))),
        }
    }

    /// Contents of a file that was given, of which each tensor is read when it is loaded to a device.
    pub fn given(path: &Path, file: Reader) -> Result<Contents> {
        let len = locked(&file).seek(SeekFrom::End(0)).map_err(Error::io(path))?;
        // A browser's limit: 4 GiB.
        let Ok(len) = usize::try_from(len) else {
            return Err(Error::file(
                path,
                format!("{} MiB are more than this program can address; split the file into shards with an index", len >> 20),
            ));
        };
        Ok(Contents::Shared(Arc::new(OpenFile { path: path.to_owned(), file, len })))
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Contents::Shared(bytes) => bytes.place().len(),
            Contents::File(file) => file.len,
        }
    }

    /// Returns the bytes of a range, which must lie within the contents.
    pub fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        match self {
            Contents::Shared(bytes) => bytes.place().read(range),
            Contents::File(file) => Ok(Cow::Owned(file.read(range)?)),
        }
    }

    /// Calls `with` with a reader of all bytes.
    pub fn with_reader<T>(&self, with: impl FnOnce(&mut dyn ReadSeek) -> Result<T>) -> Result<T> {
        match self {
            Contents::Shared(bytes) => match bytes.place() {
                Place::Memory(bytes) => with(&mut Cursor::new(bytes)),
                Place::File(file) => with(&mut BufReader::new(RangeReader { file, place: 0 })),
            },
            Contents::File(file) => with(&mut BufReader::new(&mut *locked(&file.file))),
        }
    }
}

/// A reader at any position.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Reads a file that is known by its ranges.
struct RangeReader<'a> {
    file: &'a dyn Ranges,
    place: u64,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = usize::try_from(self.place).map_or(self.file.len(), |place| place.min(self.file.len()));
        let end = start + buffer.len().min(self.file.len() - start);
        buffer[..end - start].copy_from_slice(&self.file.read(start..end).map_err(std::io::Error::other)?);
        self.place = end as u64;
        Ok(end - start)
    }
}

impl Seek for RangeReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.place.checked_add_signed(by),
            SeekFrom::End(by) => (self.file.len() as u64).checked_add_signed(by),
        };
        self.place = place.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.place)
    }
}

fn locked(file: &Reader) -> MutexGuard<'_, dyn ReadSeek + Send + 'static> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ranges for OpenFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let mut file = locked(&self.file);
        let mut bytes = vec![0; range.len()];
        file.seek(SeekFrom::Start(range.start as u64)).and_then(|_| file.read_exact(&mut bytes)).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::file(&self.path, "became shorter while it was read; wait until the program that writes it has finished")
            }
            _ => Error::io(&self.path)(error),
        })?;
        Ok(bytes)
    }
}

impl Bytes for OpenFile {
    fn place(&self) -> Place<'_> {
        Place::File(self)
    }
}

/// A stored tensor, whose type is checked on access.
pub struct Stored {
    /// Type name as in safetensors.
    pub dtype: String,
    pub shape: Vec<usize>,
    contents: Contents,
    range: Range<usize>,
    /// Distances between the elements, if they do not follow each other in row-major order.
    strides: Option<Strides>,
    /// Elements once they are read from a file or gathered: a stack of tensors is taken apart, but read once.
    read: OnceLock<Arc<dyn Bytes>>,
}

impl Stored {
    /// A tensor in a range of bytes.
    pub fn new(dtype: String, shape: Vec<usize>, contents: Contents, range: Range<usize>) -> Stored {
        Stored { dtype, shape, contents, range, strides: None, read: OnceLock::new() }
    }

    /// A tensor whose elements lie at regular distances in a range of bytes, which starts with the first and ends with the last of them.
    pub fn strided(dtype: String, shape: Vec<usize>, contents: Contents, range: Range<usize>, strides: Strides) -> Stored {
        Stored { strides: Some(strides), ..Stored::new(dtype, shape, contents, range) }
    }

    /// Returns the tensor, whose elements are of type `dtype`.
    pub fn tensor(&self, dtype: Dtype) -> Result<Tensor> {
        if let (Contents::Shared(bytes), None) = (&self.contents, &self.strides) {
            return Ok(Tensor::view(self.shape.clone(), dtype, bytes.clone(), self.range.clone()));
        }
        let memory = match self.read.get() {
            Some(read) => read.clone(),
            None => {
                let bytes = self.contents.read(self.range.clone())?;
                let bytes = match &self.strides {
                    Some(strides) => strides.gathered(&self.shape, &bytes),
                    None => bytes.into_owned(),
                };
                self.read.get_or_init(|| Arc::new(Unpacked(bytes))).clone()
            }
        };
        let len = memory.place().len();
        Ok(Tensor::view(self.shape.clone(), dtype, memory, 0..len))
    }
}

/// A memory-mapped file.
struct Mapped {
    bytes: memmap2::Mmap,
    /// Keeps the lock.
    _file: File,
}

impl Mapped {
    /// Maps a file under a shared lock, which tells programs that take locks not to write to it.
    fn new(path: &Path, file: File) -> Result<Mapped> {
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(path, "another program has locked this file; wait until it has finished"));
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) => log::debug!("{}: not locked: {error}", path.display()),
        }
        // SAFETY: the mapping is read-only and private to this value. Its bytes are plain data, of which every value is valid and checked. What
        // remains is a program that changes the file in spite of the lock: changed bytes are read as other values, and of a truncated file the missing
        // pages end this process by a signal. Users are told so where they can turn mapping off.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path))?;
        Ok(Mapped { bytes, _file: file })
    }
}

impl Bytes for Mapped {
    fn place(&self) -> Place<'_> {
        Place::Memory(&self.bytes)
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
                let released = unsafe { self.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
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
    fn place(&self) -> Place<'_> {
        Place::Memory(self.0)
    }
}

/// Bytes that were read or unpacked.
pub struct Unpacked(pub Vec<u8>);

impl Bytes for Unpacked {
    fn place(&self) -> Place<'_> {
        Place::Memory(&self.0)
    }
}
