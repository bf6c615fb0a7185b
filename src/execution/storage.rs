//! Files: bounded reads, atomic writes, and the user's cache folder.

use crate::data::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Returns our folder `name` inside the user's cache folder, if there is one.
#[cfg(not(target_arch = "wasm32"))]
pub fn cache_folder(name: &str) -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("vitraux").join(name))
}

/// Returns `None`: a browser has no cache folder.
#[cfg(target_arch = "wasm32")]
pub fn cache_folder(_: &str) -> Option<PathBuf> {
    None
}

/// Returns a lower-case file name of letters, digits and dashes.
pub fn file_name(text: &str, extension: &str) -> String {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("{}.{extension}", words.join("-"))
}

/// Opens a file for reading. Pipes, which may never end, and devices are rejected.
///
/// # Errors
/// [`Error::Io`] if opening fails; [`Error::File`] for anything but a regular file.
pub fn open(file: &Path) -> Result<File> {
    match kind(file).map_err(Error::io(file))? {
        None => File::open(file).map_err(Error::io(file)),
        Some(other) => Err(Error::file(file, format!("expected a file, found {other}"))),
    }
}

/// Returns what a path leads to if it is not a regular file.
///
/// # Errors
/// If it leads nowhere.
pub fn kind(path: &Path) -> std::io::Result<Option<&'static str>> {
    let metadata = path.metadata()?;
    Ok(match metadata.is_file() {
        true => None,
        false if metadata.is_dir() => Some("a folder"),
        false => Some("a pipe or a device"),
    })
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`] if reading fails; [`Error::File`] for anything but a regular file, or if the file is larger.
pub fn read(file: &Path, limit: u64) -> Result<Vec<u8>> {
    read_opened(open(file)?, file, limit)
}

/// Reads an opened file as [`read`] does.
///
/// # Errors
/// [`Error::Io`] if reading fails; [`Error::File`] if the file is larger.
pub fn read_opened(opened: File, file: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(file))?;
    match bytes.len() as u64 > limit {
        true => Err(too_large(file, limit)),
        false => Ok(bytes),
    }
}

/// Returns the error for a file of more than `limit` bytes.
pub fn too_large(file: &Path, limit: u64) -> Error {
    let (size, unit) = if limit < 1 << 20 { (limit >> 10, "KiB") } else { (limit >> 20, "MiB") };
    Error::file(file, format!("larger than {size} {unit}, which no such file should be"))
}

/// Writes a file atomically, creating its folder if necessary. Concurrent readers see either the old or the new contents. Of a
/// link, the target is replaced; pipes and devices are written to directly.
///
/// # Errors
/// [`Error::Io`] if writing fails.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder(file);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    if file.exists() && !file.is_file() {
        return std::fs::write(file, bytes).map_err(Error::io(file));
    }
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let partial = partial(&target);
    let out = OpenOptions::new().write(true).create_new(true).open(&partial).map_err(Error::io(file))?;
    write_partial(out, bytes, &target).and_then(|()| std::fs::rename(&partial, &target)).map_err(|error| {
        // A leftover partial file does no harm, so a failure to remove it is ignored.
        let _ = std::fs::remove_file(&partial);
        Error::io(file)(error)
    })
}

/// Returns a path beside `target` that nobody can predict. The program recognises it, and removes what killed runs have left, unless it is locked.
pub fn partial(target: &Path) -> PathBuf {
    target.with_file_name(format!(".vitraux-{:016x}.partial", RandomState::new().build_hasher().finish()))
}

/// Writes the file that is to replace `target`, with the permissions of that. It is closed before it is renamed: on Windows, its lock would keep readers away.
fn write_partial(mut out: File, bytes: &[u8], target: &Path) -> std::io::Result<()> {
    let _ = out.try_lock();
    out.write_all(bytes)?;
    if let Ok(replaced) = target.metadata() {
        out.set_permissions(replaced.permissions())?;
    }
    out.sync_all()
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Time in which another run replaces a file.
const REPLACEMENT: Duration = Duration::from_secs(1);

/// Locks the folder of a file that is read again and replaced, until what is returned is dropped. Returns `None` if the system cannot, or if another run
/// holds the lock for too long.
pub fn lock_folder(file: &Path) -> Option<File> {
    let folder = File::open(folder(file)).ok()?;
    let start = Instant::now();
    while folder.try_lock().is_err() {
        if start.elapsed() > REPLACEMENT {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_rejects_large_files_folders_and_devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file.bin");
        std::fs::write(&file, b"12345").expect("it is written");
        assert_eq!(read(&file, 5).expect("bytes"), b"12345");
        assert!(read(&file, 4).is_err_and(|error| error.to_string().contains("larger than")));
        assert!(read(folder.path(), 5).is_err_and(|error| error.to_string().contains("found a folder")));
        assert!(read(&folder.path().join("none"), 5).is_err_and(|error| matches!(error, Error::Io { .. })));
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero"), 5).is_err_and(|error| error.to_string().contains("found a pipe or a device")));
    }

    #[test]
    fn file_names_are_slugified() {
        assert_eq!(file_name("NVIDIA H200 (Vulkan) 595.45/04", "json"), "nvidia-h200-vulkan-595-45-04.json");
    }

    #[test]
    fn write_replaces_existing_file_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/er/file.bin");
        write(&file, b"one").expect("it is written");
        write(&file, b"two").expect("it is written");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"two");
        assert_eq!(std::fs::read_dir(file.parent().expect("a folder")).expect("a folder").count(), 1);
        assert!(write(folder.path(), b"a folder is in the way").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn write_keeps_permissions_and_takes_long_names() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a".repeat(255));
        write(&file, b"one").expect("it is written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
        write(&file, b"two").expect("it is written");
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    #[cfg(unix)]
    fn write_follows_links_and_keeps_devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file.bin"), folder.path().join("link.bin"));
        std::fs::write(&file, b"one").expect("it is written");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write(&link, b"two").expect("it is written");
        assert!(link.is_symlink() && std::fs::read(&file).expect("it is there") == b"two");
        std::fs::remove_file(&link).expect("it is there");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link");
        write(&link, b"three").expect("it is written");
        assert!(link.is_symlink() && !std::path::Path::new("/dev/null").is_file());
    }
}
