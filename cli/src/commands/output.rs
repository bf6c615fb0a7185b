//! Writing of files: readers see the old file or the new one, and a failure leaves the old one.

use super::images::has_image_extension;
use super::messages::text;
use super::{AnyError, Result, chain, of_file};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Writes a file by way of a new file beside it, whose path `write` gets. Pipes and devices are written to directly.
pub fn replace(file: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if file.exists() && !file.is_file() {
        return write(file);
    }
    // For a link, replace its target, not the link.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let fresh = fresh_beside(&target).map_err(of_file(file))?;
    let permissions = target.metadata().or_else(|_| fresh.as_file().metadata()).map_err(of_file(file))?.permissions();
    write(fresh.path()).map_err(|error| named(error, file))?;
    let written = OpenOptions::new().write(true).open(fresh.path()).and_then(|file| file.sync_all());
    written.and_then(|()| std::fs::set_permissions(fresh.path(), permissions)).map_err(of_file(file))?;
    fresh.persist(&target).map_err(|error| of_file(file)(error.error))?;
    Ok(())
}

/// Returns an error that names the file that could not be written.
fn named(error: AnyError, file: &Path) -> AnyError {
    let (name, text) = (file.display().to_string(), chain(&*error));
    if text.contains(&name) { error } else { format!("{name}: {text}").into() }
}

/// Writes a file with the contents that `write` gives, as [`replace`] does.
pub fn replace_with(file: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    replace(file, |path| {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(path).map_err(of_file(file))?);
        write(&mut out)?;
        out.flush().map_err(of_file(file))
    })
}

/// Checks, before any work is done, that a path names a file in an existing folder.
pub fn check_output(file: &Path) -> Result<()> {
    if file.is_dir() || file.file_name().is_none() {
        return Err(format!("{}: expected a file name, found a folder", file.display()).into());
    }
    match folder(file).is_dir() {
        true => Ok(()),
        false => Err(format!("{}: no such folder", folder(file).display()).into()),
    }
}

/// Checks, before any work is done, that a path names a file with this extension, or without one, in an existing folder.
pub fn check_named(file: &Path, extension: &str) -> Result<()> {
    match file.extension().filter(|own| !own.eq_ignore_ascii_case(extension)) {
        Some(other) => Err(format!("{}: expected a name that ends in .{extension}, found .{}", file.display(), other.display()).into()),
        None => check_output(file),
    }
}

/// Checks that writing a file overwrites no input, whatever links lead to it, and that its name is not that of an image, as after `-o *.jpg`.
pub fn protect<'a>(file: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    let own = identity(file);
    if own.is_some() && own == identity_of_stdin() {
        return Err(format!("{}: would overwrite the file on standard input; choose another file", file.display()).into());
    }
    if let Some(input) = inputs.into_iter().find(|input| own.is_some() && identity(input) == own) {
        return Err(format!("{}: would overwrite the input {}; choose another file", file.display(), input.display()).into());
    }
    match has_image_extension(file) {
        true => Err(format!("{}: expected a file for results, found the name of an image; choose another file", file.display()).into()),
        false => Ok(()),
    }
}

/// Returns what tells an existing file from all others, whatever links lead to it. Does not open it: that would wait at a pipe.
#[cfg(unix)]
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns what tells the file that standard input is read from, if it is one.
#[cfg(unix)]
fn identity_of_stdin() -> Option<(u64, u64)> {
    use std::os::fd::AsFd;
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    identity_of(&file).filter(|_| file.metadata().is_ok_and(|metadata| metadata.is_file()))
}

#[cfg(not(unix))]
fn identity_of_stdin() -> Option<PathBuf> {
    None
}

/// Whether a path still leads to an opened file, which another run may have removed or replaced since.
#[cfg(unix)]
pub fn leads_to(path: &Path, opened: &File) -> bool {
    identity(path) == identity_of(opened)
}

/// Returns true: only Unix tells.
#[cfg(not(unix))]
pub fn leads_to(_: &Path, _: &File) -> bool {
    true
}

#[cfg(unix)]
fn identity_of(opened: &File) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    opened.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns what tells an existing file from all others, hard links excepted.
#[cfg(not(unix))]
pub fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Checks that a file can be replaced, before any work is done.
pub fn check_replaceable(file: &Path) -> Result<()> {
    check_output(file)?;
    if file.exists() && !file.is_file() {
        return Ok(());
    }
    fresh_beside(&file.canonicalize().unwrap_or_else(|_| file.to_owned())).map_err(of_file(file))?;
    Ok(())
}

/// Locks a file for this run, so that no other run mixes its results with ours. Pipes and devices cannot be locked.
pub fn lock(opened: &File, file: &Path) -> Result<()> {
    // A run that was killed has its lock until the system has cleaned up.
    lock_within(Duration::from_secs(1), opened, file)
}

/// Locks a file as [`lock`] does, within a time.
fn lock_within(time: Duration, opened: &File, file: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match opened.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < time => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => break,
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(format!("{}: another run of vitraux is writing to it; wait until it has ended, or choose another --output", file.display()).into())
}

/// Time in which another run writes a file that is read again and replaced.
const REPLACEMENT: Duration = Duration::from_secs(60);

/// Locks the folder of a file that is read again and replaced, until what is returned is dropped: `None` if the system cannot lock folders.
pub fn lock_for_replacement(file: &Path) -> Result<Option<File>> {
    let Ok(opened) = File::open(folder(file)) else { return Ok(None) };
    lock_within(REPLACEMENT, &opened, file)?;
    Ok(Some(opened))
}

/// Standard output, whose errors name it.
pub struct Stdout(std::io::Stdout);

/// Returns standard output.
pub fn stdout() -> Stdout {
    Stdout(std::io::stdout())
}

/// Returns an error that names standard output.
pub fn of_stdout(error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("standard output: {}", text(&error)))
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

/// Output beside files, which are made even if nobody reads it any more.
pub struct Beside<W>(pub W);

impl<W: Write> Write for Beside<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Start and end of the names of files that are being written.
const PARTIAL: [&str; 2] = [".vitraux-", ".partial"];

/// Age at which a file that is being written may be one that a killed run has left. Younger ones may not be locked yet.
const STALE: Duration = Duration::from_secs(60);

/// Creates a file with a name that nobody can predict, and locks it. Dropping it removes it.
fn fresh_beside(file: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let folder = folder(file);
    if SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned()) {
        remove_stale(folder);
    }
    let [start, end] = PARTIAL;
    let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let fresh = tempfile::Builder::new().prefix(start).suffix(end).make_in(folder, create)?;
    // Without locks, the age alone tells.
    let _ = fresh.as_file().try_lock();
    Ok(fresh)
}

/// Removes what killed runs have left in a folder: old files under our names, of which no run has a lock.
fn remove_stale(folder: &Path) {
    let is_ours = |name: &str| name.starts_with(PARTIAL[0]) && name.ends_with(PARTIAL[1]);
    for entry in folder.read_dir().into_iter().flatten().flatten().filter(|entry| is_ours(&entry.file_name().to_string_lossy())) {
        let is_old = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE)));
        if is_old && File::open(entry.path()).is_ok_and(|left| left.try_lock().is_ok()) {
            // One that cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_writes_keep_the_old_file_and_leave_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.bin");
        replace_with(&file, |out| Ok(out.write_all(b"old")?)).expect("it is written");
        let failed = replace_with(&file, |out| out.write_all(b"new").map_err(Into::into).and(Err("no more".into())));
        assert!(failed.expect_err("it failed").to_string().ends_with("a.bin: no more"));
        assert_eq!(std::fs::read(&file).expect("it is there"), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn partial_files_of_killed_runs_are_removed_unless_they_are_new_or_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let old = std::time::SystemTime::now() - 2 * STALE;
        let [stale, used, new, foreign] = [".vitraux-a.partial", ".vitraux-b.partial", ".vitraux-c.partial", "b.partial"].map(at);
        let create = |path: &Path| File::create(path).expect("a file");
        let files = [&stale, &used, &foreign].map(|path| create(path));
        files.iter().for_each(|file| file.set_modified(old).expect("it is ours"));
        create(&new);
        files[1].lock().expect("a lock");
        replace_with(&at("a.bin"), |out| Ok(out.write_all(b"new")?)).expect("it is written");
        assert_eq!([stale, used, new, foreign].map(|path| path.exists()), [false, true, true, true]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_survive() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("a.bin"), folder.path().join("link.bin"));
        std::fs::write(&file, "old").expect("it is written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("it is ours");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        replace_with(&link, |out| Ok(out.write_all(b"new")?)).expect("it is written");
        assert!(link.is_symlink() && std::fs::read(&file).expect("it is there") == b"new");
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o640);
    }
}
