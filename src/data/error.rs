//! The single error type, for everything that external input can cause: files, shapes, devices, limits.

use std::path::{Path, PathBuf};

/// A failure: its subject, what was expected, what was found, and advice. `Debug` prints the `Display` text and the causes, so
/// a `main` that returns [`Result`] ends with a readable message.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file has invalid contents: a configuration, a checkpoint, an index.
    #[error("{path}: {message}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The defect.
        message: String,
    },
    /// The checkpoint has a family or a feature that vitraux does not support.
    #[error("{path}: {message}", path = .path.display())]
    Unsupported {
        /// The file that declares it.
        path: PathBuf,
        /// The unsupported feature and the supported ones.
        message: String,
    },
    /// A tensor is missing, or has the wrong shape, element type or values.
    #[error("tensor {name}: {message}")]
    Tensor {
        /// The tensor's name in the checkpoint or in the call.
        name: String,
        /// The defect.
        message: String,
    },
    /// An image could not be decoded.
    #[error("{path}: {message}", path = .path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// The defect.
        message: String,
    },
    /// Reading an image takes more memory than the limit.
    #[error("{path}: {width} x {height} pixels take {} MiB of memory, and the limit is {} MiB; scale the image down or raise the limit", .needed.div_ceil(1 << 20), .allowed >> 20, path = .path.display(), width = .size[1], height = .size[0])]
    ImageLimit {
        /// The image file.
        path: PathBuf,
        /// Height and width in pixels.
        size: [usize; 2],
        /// Bytes that reading it takes.
        needed: u64,
        /// The limit in bytes.
        allowed: u64,
    },
    /// A model could not be downloaded from the hub.
    #[error("{model}: {message}")]
    Network {
        /// The model, as `owner/name` or `owner/name@revision`.
        model: String,
        /// The cause and a remedy.
        message: String,
    },
    /// An argument of a call is invalid.
    #[error("{argument}: {message}")]
    Argument {
        /// The argument.
        argument: &'static str,
        /// Expected and found contents.
        message: String,
    },
    /// No device matches the request.
    #[error("{0}")]
    NoDevice(String),
    /// The device or its driver rejected the work or failed.
    #[error("{device}: {message}")]
    Device {
        /// The device.
        device: String,
        /// The driver's message.
        message: String,
    },
    /// The device was lost: its driver was restarted, or it was removed or destroyed. Models and sessions on it are unusable.
    /// Drop them, reopen the device, and load again.
    #[error("{device}: device lost: {message}; reopen the device and reload the model")]
    DeviceLost {
        /// The device.
        device: String,
        /// The driver's reason.
        message: String,
    },
    /// The device ran out of memory. Everything loaded before still works. Drop models or sessions, or use a smaller batch.
    #[error("{device}: out of memory for {what}; use a smaller batch, a lower precision or another device")]
    OutOfMemory {
        /// The device.
        device: String,
        /// The allocation that failed.
        what: String,
    },
    /// The work exceeds a limit of the device.
    #[error("{what} needs {}, but the device allows only {}; use a smaller batch, fewer outputs or another device, such as the CPU", .limit.quantity(*.needed, f64::ceil), .limit.quantity(*.allowed, f64::floor))]
    Limit {
        /// The work that exceeds the limit.
        what: String,
        /// The limit.
        limit: Limit,
        /// The quantity needed.
        needed: u64,
        /// The quantity allowed.
        allowed: u64,
    },
}

/// A limit of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes per buffer.
    Buffer,
    /// Bytes per binding.
    Binding,
    /// Bytes of workgroup memory.
    WorkgroupMemory,
    /// Workgroups along one dimension.
    Workgroups,
    /// Images per pass.
    Images,
}

impl Limit {
    /// Formats a quantity of the limited resource. What is needed is rounded up and what is allowed down, so that they differ.
    fn quantity(self, count: u64, round: fn(f64) -> f64) -> String {
        let bytes = || match count {
            0..0x10_0000 => format!("{count} bytes"),
            _ => format!("{:.1} MiB", round(count as f64 / f64::from(1 << 20) * 10.0) / 10.0),
        };
        match self {
            Limit::Buffer => format!("a buffer of {}", bytes()),
            Limit::Binding => format!("{} in one binding", bytes()),
            Limit::WorkgroupMemory => format!("{count} bytes of workgroup memory"),
            Limit::Workgroups => format!("{count} workgroups along one dimension"),
            Limit::Images => format!("{count} images in one pass"),
        }
    }
}

/// A result with vitraux's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error {
    /// Returns the name of its kind in snake case, for languages without enums: `"io"`, `"out_of_memory"` and so on.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Io { .. } => "io",
            Error::File { .. } => "file",
            Error::Unsupported { .. } => "unsupported",
            Error::Tensor { .. } => "tensor",
            Error::Image { .. } => "image",
            Error::ImageLimit { .. } => "image_limit",
            Error::Network { .. } => "network",
            Error::Argument { .. } => "argument",
            Error::NoDevice(_) => "no_device",
            Error::Device { .. } => "device",
            Error::DeviceLost { .. } => "device_lost",
            Error::OutOfMemory { .. } => "out_of_memory",
            Error::Limit { .. } => "limit",
        }
    }

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

    pub(crate) fn argument(argument: &'static str, message: impl Into<String>) -> Error {
        Error::Argument { argument, message: message.into() }
    }

    pub(crate) fn device(device: impl std::fmt::Display, message: impl std::fmt::Display) -> Error {
        Error::Device { device: device.to_string(), message: message.to_string() }
    }

    #[cfg(feature = "image")]
    pub(crate) fn image(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::Image { path: path.as_ref().to_owned(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_debug_prints_message_and_causes() {
        let error = Error::io("model.safetensors")(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file"));
        assert_eq!(format!("{error:?}"), "model.safetensors: no such file");
        let limit = Error::Limit { what: "hidden.0".to_owned(), limit: Limit::Buffer, needed: 3 << 20, allowed: 1 << 20 };
        assert_eq!(
            format!("{limit:?}"),
            "hidden.0 needs a buffer of 3.0 MiB, but the device allows only a buffer of 1.0 MiB; use a smaller batch, fewer outputs or another device, such as the CPU"
        );
        let close = |needed, allowed| Error::Limit { what: String::new(), limit: Limit::Binding, needed, allowed }.to_string();
        assert!(close((1 << 27) + 4, 1 << 27).starts_with(" needs 128.1 MiB in one binding, but the device allows only 128.0 MiB in one binding;"));
        assert!(close(1028, 1024).starts_with(" needs 1028 bytes in one binding, but the device allows only 1024 bytes in one binding;"));
    }
}
