//! What files hash to.

use super::entry::Entry;
use crate::data::error::{Error, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The name that a file's blob gets: the hub's, if that is a hash of the contents, else their SHA-256. Simple
/// servers tag files with whatever they like, even different ones with the same.
pub fn name(path: &Path, entry: &Entry) -> Result<String> {
    match &entry.hash {
        Some(hash) if *hash == git(path)? => Ok(hash.clone()),
        _ => sha256(path),
    }
}

pub fn sha256(path: &Path) -> Result<String> {
    hexadecimal(Sha256::new(), path)
}

/// What git calls these contents.
fn git(path: &Path) -> Result<String> {
    let length = path.metadata().map_err(Error::io(path))?.len();
    hexadecimal(Sha1::new_with_prefix(format!("blob {length}\0")), path)
}

fn hexadecimal(mut hasher: impl Digest, path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
