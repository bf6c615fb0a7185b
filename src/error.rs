//! The one error type: whatever the outside (files, shapes, devices, limits) can cause.

use std::path::{Path, PathBuf};

/// What went wrong, in one line: the subject, what was expected, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read, but its contents are wrong: a configuration, a checkpoint, an index.
    #[error("{path}: {message}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The checkpoint is of a family or has a feature that vitraux does not run.
    #[error("{path}: {message}", path = .path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What was found, and what is supported.
        message: String,
    },
    /// A tensor is missing, or its shape, element type or values are wrong.
    #[error("tensor {name}: {message}")]
    Tensor {
        /// The tensor's name in the checkpoint or in the call.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A picture could not be decoded.
    #[error("{path}: {message}", path = .path.display())]
    Picture {
        /// The picture's file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A model could not be had from the hub.
    #[error("{model}: {message}")]
    Hub {
        /// The model, as `owner/name` or `owner/name@revision`.
        model: String,
        /// Why, and what to do.
        message: String,
    },
    /// An argument of a call is wrong.
    #[error("{0}")]
    Argument(String),
    /// No such device, or the device failed.
    #[error("{0}")]
    Device(String),
    /// The work does not fit within a limit of the device.
    #[error("{0}")]
    Limit(String),
}

/// A result with vitraux' [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_owned(), message: message.into() }
    }

    pub(crate) fn unsupported(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::Unsupported { path: path.as_ref().to_owned(), message: message.into() }
    }

    pub(crate) fn tensor(name: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Tensor { name: name.into(), message: message.into() }
    }

    #[cfg(feature = "image")]
    pub(crate) fn picture(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::Picture { path: path.as_ref().to_owned(), message: message.into() }
    }
}
