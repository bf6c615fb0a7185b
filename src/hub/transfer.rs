//! One file from the hub into the cache. Bytes gather in `<blob>.incomplete`, as with Python's library, and an
//! interrupted download goes on from there; only a file of the right length and hash becomes a blob.

use super::Progress;
use super::cache::create_parent;
use super::remote::{Entry, Listing, Remote};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// Attempts that bring nothing new before it is given up.
const ATTEMPTS: u32 = 5;
/// What an attempt must bring to count as progress; else a server could keep us for ever, byte by byte.
const WORTHWHILE: u64 = 1 << 20;
/// Waited after the first failure, and doubled after each.
const PAUSE: Duration = Duration::from_millis(200);

/// Why an attempt ended.
enum Stop {
    /// Another attempt may help.
    Cut(String),
    Final(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Final(error)
    }
}

/// Has a file of the listing in the snapshot.
pub fn fetch(remote: &Remote, listing: &Listing, name: &str, progress: &Progress<'_>) -> Result<()> {
    let entry = listing.find(name).ok_or_else(|| remote.reference.error(format!("the index names {name}, but the model has no such file")))?;
    let blob = remote.cache.blob(&entry.hash);
    let _lock = remote.cache.lock(&entry.hash)?;
    if !fs::metadata(&blob).is_ok_and(|found| found.len() == entry.size) {
        create_parent(&blob)?;
        let partial = blob.with_extension("incomplete");
        persist(remote, &listing.commit, entry, &partial, progress)?;
        fs::rename(&partial, &blob).map_err(Error::io(&blob))?;
    }
    remote.cache.link(&listing.commit, name, &entry.hash)
}

/// Attempts until the file is whole.
fn persist(remote: &Remote, commit: &str, entry: &Entry, partial: &Path, progress: &Progress<'_>) -> Result<()> {
    let (mut failures, mut most) = (0, 0);
    loop {
        let why = match attempt(remote, commit, entry, partial, progress) {
            Ok(()) => return Ok(()),
            Err(Stop::Final(error)) => return Err(error),
            Err(Stop::Cut(why)) => why,
        };
        let here = fs::metadata(partial).map_or(0, |found| found.len());
        failures = if here >= most + WORTHWHILE { 1 } else { failures + 1 };
        most = most.max(here);
        if failures == ATTEMPTS {
            let message = format!("{}: {why} ({ATTEMPTS} attempts, {here} of {} bytes are here); try again later", entry.name, entry.size);
            return Err(remote.reference.error(message));
        }
        log::info!("{}: {}: {why}; trying again", remote.reference, entry.name);
        std::thread::sleep(PAUSE * (1 << (failures - 1)));
    }
}

fn attempt(remote: &Remote, commit: &str, entry: &Entry, partial: &Path, progress: &Progress<'_>) -> std::result::Result<(), Stop> {
    let mut file = OpenOptions::new().append(true).create(true).open(partial).map_err(Error::io(partial))?;
    let mut here = file.metadata().map_err(Error::io(partial))?.len();
    // Only a hash tells whether old bytes and new ones are of one file.
    if entry.sha256().is_none() || here > entry.size {
        here = restart(&file, partial)?;
    }
    if here < entry.size {
        receive(remote, commit, entry, (&mut file, partial), here, progress)?;
    }
    file.sync_all().map_err(Error::io(partial))?;
    if let Some(expected) = entry.sha256() {
        let found = sha256(partial)?;
        if found != expected.to_lowercase() {
            restart(&file, partial)?;
            return Err(Stop::Cut(format!("expected SHA-256 {expected}, found {found}")));
        }
    }
    Ok(())
}

/// Appends what is missing.
fn receive(
    remote: &Remote,
    commit: &str,
    entry: &Entry,
    (file, partial): (&mut File, &Path),
    mut here: u64,
    progress: &Progress<'_>,
) -> std::result::Result<(), Stop> {
    let response = remote.get(commit, &entry.name, here).map_err(|error| Stop::Cut(error.to_string()))?;
    let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
    match response.status().as_u16() {
        206 if range.is_some_and(|range| range.starts_with(&format!("bytes {here}-"))) => {}
        // Everything, be it because everything was asked for or because the server knows no ranges.
        200 => here = restart(file, partial)?,
        refused @ (401 | 403 | 404) => return Err(Stop::Final(remote.refusal(refused))),
        other => {
            // Another range than was asked for, or none: what is here cannot be gone on from.
            if matches!(other, 206 | 416) {
                restart(file, partial)?;
            }
            return Err(Stop::Cut(format!("HTTP status {other}")));
        }
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(&entry.name, here, entry.size);
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return Err(Stop::Cut(error.to_string())),
        };
        here += count as u64;
        if here > entry.size {
            restart(file, partial)?;
            return Err(Stop::Cut(format!("expected {} bytes, found more", entry.size)));
        }
        file.write_all(&buffer[..count]).map_err(Error::io(partial))?;
    }
    match here == entry.size {
        true => Ok(()),
        false => Err(Stop::Cut(format!("expected {} bytes, found {here}", entry.size))),
    }
}

/// Drops what is here of a file.
fn restart(file: &File, partial: &Path) -> Result<u64> {
    file.set_len(0).map_err(Error::io(partial))?;
    Ok(0)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
