//! Hashes of files.

use super::entry::Entry;
use crate::data::error::{Error, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Returns the name of a file's blob: the hub's hash if it matches the contents, else their SHA-256. Simple servers use
/// arbitrary tags, even the same one for different files.
pub fn name(path: &Path, entry: &Entry) -> Result<String> {
    match &entry.hash {
        Some(hash) if *hash == git(path)? => Ok(hash.clone()),
        _ => sha256(path),
    }
}

/// Returns what is wrong with a file that has not the hub's hash. Other tags than a SHA-256 are arbitrary for servers that name no commit, and, of weights, for
/// those that give the hash of what git has in their place.
pub fn mismatch(path: &Path, entry: &Entry) -> Result<Option<String>> {
    let (kind, expected, found) = match (entry.sha256(), &entry.hash, &entry.commit) {
        (Some(expected), ..) => ("SHA-256", expected, sha256(path)?),
        (None, Some(expected), Some(_)) if entry.largest.is_some() => ("git's SHA-1", expected.as_str(), git(path)?),
        _ => return Ok(None),
    };
    Ok((expected != found).then(|| format!("expected {kind} {expected}, found {found}")))
}

fn sha256(path: &Path) -> Result<String> {
    hexadecimal(Sha256::new(), path)
}

/// Returns git's hash of the contents.
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
