//! Opening of checkpoints.

use super::files::{Files, MODEL, OPEN_CLIP, TIMM};
use super::folder::Folder;
use super::lone::LoneFile;
use super::memory::MAPPED_FROM;
use super::{Checkpoint, adapter, open_clip, outline, preprocess, processor, root};
use crate::data::config::Input;
use crate::data::error::{Error, Result};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Opens a checkpoint with options.
///
/// ```no_run
/// # fn main() -> vitraux::Result<()> {
/// use vitraux::Checkpoint;
///
/// let checkpoint = Checkpoint::builder("dinov2-small").image_size([448, 448]).open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct CheckpointBuilder {
    folder: Folder,
    image: Option<[usize; 2]>,
    mapped_from: u64,
    adapter: Option<PathBuf>,
}

impl CheckpointBuilder {
    pub(super) fn new(path: &Path) -> CheckpointBuilder {
        CheckpointBuilder { folder: Folder::Stored(path.to_owned()), image: None, mapped_from: MAPPED_FROM, adapter: None }
    }

    pub(super) fn from_files<F: Read + Seek + Send + 'static>(name: &Path, files: impl IntoIterator<Item = (String, F)>) -> CheckpointBuilder {
        let files = files.into_iter().map(|(name, file)| (name, Arc::new(Mutex::new(file)) as _)).collect();
        CheckpointBuilder { folder: Folder::Given { name: name.to_owned(), files }, image: None, mapped_from: MAPPED_FROM, adapter: None }
    }

    /// Sets the height and width that images are prepared for, instead of the configured ones.
    pub fn image_size(self, size: [usize; 2]) -> CheckpointBuilder {
        CheckpointBuilder { image: Some(size), ..self }
    }

    /// Adds a LoRA adapter to the weights: a folder with `adapter_config.json` and `adapter_model.safetensors` or `adapter_model.bin`, as peft
    /// saves them. The model then costs what it costs without one.
    pub fn adapter(self, folder: impl AsRef<Path>) -> CheckpointBuilder {
        CheckpointBuilder { adapter: Some(folder.as_ref().to_owned()), ..self }
    }

    /// Memory-maps files of at least so many bytes; smaller ones are read. Given files are never mapped. Defaults to 256 MiB; with [`u64::MAX`], every file is read.
    ///
    /// A mapped file needs no memory of its own, and its weights are read as they are loaded. It must not change while the checkpoint is in use: if
    /// another program truncates it, the system ends this process with a signal. Mapped files are therefore locked where the system has locks, for
    /// programs that respect them.
    pub fn mapped_from(self, bytes: u64) -> CheckpointBuilder {
        CheckpointBuilder { mapped_from: bytes, ..self }
    }

    /// Opens the checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`Error::Argument`](crate::Error::Argument) if the model cannot run at this size.
    pub fn open(self) -> Result<Checkpoint> {
        let CheckpointBuilder { folder, image, mapped_from, adapter } = self;
        if let Folder::Stored(path) = &folder
            && let Some(kind) = LoneFile::of(path)
        {
            if let Some(adapter) = adapter {
                return Err(Error::file(&adapter, "adapters are for models of transformers and timm, not for files without a configuration"));
            }
            let files = kind.open(path, mapped_from)?;
            let outline = kind.outline(path, &files)?.checked_at(image)?;
            let preprocess = kind.preprocess(path, &outline.config, image)?;
            return outline.load(path, Some(preprocess), &files);
        }
        let root = root(&folder)?;
        let is_open_clip = open_clip::is_config(&root);
        let places: &[_] = match () {
            () if is_open_clip => &OPEN_CLIP,
            () if root.has("architecture") => &TIMM,
            () => &MODEL,
        };
        let files = match Files::open(&folder, places, mapped_from) {
            // transformers' wrapper of timm models adds a prefix of its own.
            Ok(files) if root.string("model_type")? == Some("timm_wrapper") => files.without_prefix("timm_model.")?,
            Ok(files) if is_open_clip => files.without_prefix(open_clip::TRUNK)?,
            Ok(files) => files,
            // An unsupported configuration makes a better message than missing weights.
            Err(error) => return Err(outline(&root, None).err().unwrap_or(error)),
        };
        let (files, root) = match adapter {
            Some(adapter) => adapter::merged(&adapter, files, root, mapped_from)?,
            None => (files, root),
        };
        let outline = outline(&root, Some(&files))?.checked_at(image)?;
        let preprocess = match outline.config.input {
            Input::Image(_) => Some(preprocess(&root, processor(&folder)?, image)?),
            Input::Text { .. } | Input::Embeddings { .. } => None,
        };
        let mut checkpoint = outline.load(root.path(), preprocess, &files)?;
        checkpoint.folder = (checkpoint.config.is_text() || checkpoint.text.is_some()).then_some(folder);
        Ok(checkpoint)
    }
}
