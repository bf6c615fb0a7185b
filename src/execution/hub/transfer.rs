//! Download of one file into the cache. Bytes are collected in `<blob>.incomplete`, as in the Python library, and an
//! interrupted download resumes from there. Only a file with the announced length and hash becomes a blob.

use super::cache::{create_parent, remove_link};
use super::entry::{Entry, header, length};
use super::failure::Failure;
use super::remote::{HubResult, Remote};
use super::{DownloadProgress, form, hash};
use crate::data::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Consecutive attempts without progress before giving up.
const ATTEMPTS: u32 = 5;
/// Bytes that an attempt must add to count as progress; otherwise a server could keep us forever, byte by byte.
const WORTHWHILE: u64 = 1 << 20;
/// Time without a new byte before giving up: a silent server gets fewer attempts than one that cuts connections.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time over which the rate of a download is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// Bytes that must arrive in that time; otherwise a server could keep us forever.
const LEAST: u64 = 10 << 10;
/// Pause after the first failure, doubled after each.
const PAUSE: Duration = Duration::from_millis(200);

/// Places a file in the snapshot, downloading it if necessary.
pub fn fetch(remote: &Remote, entry: &Entry, progress: &DownloadProgress<'_>) -> HubResult<()> {
    let (cache, state, name) = (&remote.cache, &remote.state(), entry.name.as_str());
    let fits = |path: &Path| fs::metadata(path).is_ok_and(|found| entry.size.is_none_or(|size| size == found.len()));
    let blob = || entry.hash.as_ref().filter(|hash| fits(&cache.blob(hash)));
    // Nothing is written then, so that the cache may be one that cannot be written to. Without a SHA-256, a file of this snapshot and length is assumed to
    // be the server's.
    let is_here = || match blob() {
        Some(hash) => cache.is_linked(state, name, hash),
        None => entry.sha256().is_none() && fits(&cache.snapshot(state).join(name)),
    };
    if is_here() {
        return Ok(());
    }
    let key = entry.hash.clone().unwrap_or_else(|| format!("{state}-{name}"));
    let _lock = cache.lock(&key)?;
    // Another process may have fetched it meanwhile.
    if is_here() {
        return Ok(());
    }
    if let Some(hash) = blob() {
        return Ok(cache.link(state, name, hash)?);
    }
    let partial = cache.partial(&key);
    create_parent(&partial)?;
    remove_link(&partial)?;
    // Only a SHA-256 shows whether the bytes of an earlier run belong to the same file as new ones.
    if entry.sha256().is_none() {
        let _ = fs::remove_file(&partial);
    }
    persist(remote, entry, &partial, progress)?;
    form::check(remote.reference, entry, &partial)?;
    let hash = hash::name(&partial, entry)?;
    let blob = cache.blob(&hash);
    fs::rename(&partial, &blob).map_err(Error::io(&blob))?;
    Ok(cache.link(state, name, &hash)?)
}

/// Retries until the file is complete.
fn persist(remote: &Remote, entry: &Entry, partial: &Path, progress: &DownloadProgress<'_>) -> HubResult<()> {
    let (mut failures, mut most, mut since) = (0, 0, Instant::now());
    loop {
        let why = match attempt(remote, entry, partial, progress) {
            Err(Failure::Cut(why) | Failure::Unreachable(why)) => why,
            answer => return answer,
        };
        let here = fs::metadata(partial).map_or(0, |found| found.len());
        failures = if here >= most + WORTHWHILE { 1 } else { failures + 1 };
        if here > most {
            (most, since) = (here, Instant::now());
        }
        if failures == ATTEMPTS || failures > 1 && since.elapsed() > PATIENCE {
            let size = entry.size.map_or_else(String::new, |size| format!(" of {size}"));
            let message = format!("{}: {why} ({failures} attempts, {here}{size} bytes downloaded); try again later", entry.name);
            return Err(remote.reference.error(message).into());
        }
        log::info!("{}: {}: {why}; trying again", remote.reference, entry.name);
        std::thread::sleep(PAUSE * (1 << (failures - 1)));
    }
}

fn attempt(remote: &Remote, entry: &Entry, partial: &Path, progress: &DownloadProgress<'_>) -> HubResult<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(partial).map_err(Error::io(partial))?;
    let mut here = file.metadata().map_err(Error::io(partial))?.len();
    if entry.size.is_some_and(|size| here > size) {
        here = restart(&file, partial)?;
    }
    if entry.size != Some(here) {
        receive(remote, entry, (&mut file, partial), here, progress)?;
    }
    file.sync_all().map_err(Error::io(partial))?;
    match hash::mismatch(partial, entry)? {
        None => Ok(()),
        Some(message) => {
            restart(&file, partial)?;
            Err(Failure::Cut(message))
        }
    }
}

/// Appends the missing bytes.
fn receive(remote: &Remote, entry: &Entry, (file, partial): (&mut File, &Path), mut here: u64, progress: &DownloadProgress<'_>) -> HubResult<()> {
    let response = remote.get(&entry.name, here)?;
    match response.status().as_u16() {
        206 if header(&response, "Content-Range").is_some_and(|range| range.starts_with(&format!("bytes {here}-"))) => {}
        // The whole file, either because all of it was requested or because the server does not support ranges.
        200 => here = restart(file, partial)?,
        other => {
            // The wrong range, or none: the partial file cannot be resumed.
            if matches!(other, 206 | 416) {
                restart(file, partial)?;
            }
            return Err(Failure::Cut(format!("HTTP status {other}")));
        }
    }
    let expected = match (entry.size, length(&response)) {
        (Some(size), Some(declared)) if size != declared => {
            return Err(Failure::Cut(format!("expected {size} bytes, but the server announces {declared}")));
        }
        (size, declared) => size.or(declared),
    };
    let too_large = |largest: u64| remote.reference.error(format!("{}: larger than {} MiB, which no such file should be", entry.name, largest >> 20));
    if let Some(largest) = entry.largest.filter(|largest| expected.is_some_and(|expected| expected > *largest)) {
        return Err(too_large(largest).into());
    }
    let mut expected = expected;
    let parts = read(response.into_body().into_reader()).map_err(Error::io(partial))?;
    let mut watched = (Instant::now(), here);
    loop {
        progress(&entry.name, here, expected.unwrap_or(here));
        let part = match parts.recv_timeout(WATCHED) {
            Ok(Ok(part)) => part,
            Ok(Err(error)) => return Err(Failure::Cut(error.to_string())),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        here += part.len() as u64;
        if let Some(expected) = expected.filter(|expected| here > *expected) {
            restart(file, partial)?;
            return Err(Failure::Cut(format!("expected {expected} bytes, found more")));
        }
        file.write_all(&part).map_err(Error::io(partial))?;
        match (expected, entry.largest) {
            (None, Some(largest)) if here > largest => return Err(too_large(largest).into()),
            // A body without a length must not fill the disk: the file's own header has it.
            (None, None) => expected = form::announced(remote.reference, entry, partial, here)?,
            _ => {}
        }
        let (since, before) = watched;
        if since.elapsed() >= WATCHED {
            if here < before + LEAST {
                let message = format!("{}: {} bytes in {} s are too slow; try again later", entry.name, here - before, since.elapsed().as_secs());
                return Err(remote.reference.error(message).into());
            }
            watched = (Instant::now(), here);
        }
    }
    match expected {
        Some(expected) if here != expected => Err(Failure::Cut(format!("expected {expected} bytes, found {here}"))),
        _ => Ok(()),
    }
}

/// Reads a body in parts, until the last of them or an error, on a thread of its own: a server that sends chunk sizes or trailers byte by byte can keep a read
/// waiting as long as it likes.
fn read(mut body: impl Read + Send + 'static) -> std::io::Result<Receiver<std::io::Result<Vec<u8>>>> {
    let (sender, parts) = sync_channel(1);
    let read = move || {
        loop {
            let mut part = vec![0; 1 << 16];
            let read = match body.read(&mut part) {
                Ok(0) => break,
                Ok(count) => {
                    part.truncate(count);
                    Ok(part)
                }
                Err(error) => Err(error),
            };
            let is_last = read.is_err();
            if sender.send(read).is_err() || is_last {
                break;
            }
        }
    };
    std::thread::Builder::new().name("download".to_owned()).spawn(read)?;
    Ok(parts)
}

/// Discards the bytes of a partial file.
fn restart(file: &File, partial: &Path) -> Result<u64> {
    file.set_len(0).map_err(Error::io(partial))?;
    Ok(0)
}
