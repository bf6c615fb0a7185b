//! Errors about files of strangers, whose tokens may be of any length.

use crate::data::error::Error;
use std::fmt::Display;
use std::path::Path;

/// Maximum characters of a message.
const LONGEST: usize = 300;

/// Returns an error about a file.
pub fn wrong(path: &Path, message: impl Display) -> Error {
    Error::file(path, brief(message))
}

/// Returns a message, or the beginning of a long one.
pub fn brief(message: impl Display) -> String {
    let message = message.to_string();
    match message.char_indices().nth(LONGEST) {
        None => message,
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}
