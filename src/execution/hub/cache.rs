//! A model's entry in the cache that Hugging Face's libraries share: `blobs` by hash, `snapshots` of links to them by
//! commit, and `refs` from revision names to commits.

use super::form::Form;
use super::reference::{Reference, is_plain};
use super::{LAYOUTS, Layout, PROCESSOR, Wanted, shards};
use crate::data::error::{Error, Result};
use crate::execution::storage;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Maximum bytes of the file that has the commit of a revision.
const LARGEST_REF: u64 = 1 << 10;

/// Returns the folder of Hugging Face's libraries: `HF_HOME`, or `huggingface` in the user's cache folder.
///
/// # Errors
/// [`Error::Argument`] if there is neither.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = folder("HF_HOME") {
        return Ok(home);
    }
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(dirs::home_dir()?.join(".cache")));
    let missing = || Error::argument("HF_HOME", "expected the folder that keeps models of the hub, found neither it nor a home folder; set HF_HOME");
    Ok(caches.ok_or_else(missing)?.join("huggingface"))
}

/// Returns the folder in a variable of the environment, if that is set. `~/` stands for the home folder, as in Python's libraries.
fn folder(variable: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os(variable).filter(|path| !path.is_empty())?;
    let path = PathBuf::from(path);
    match (path.strip_prefix("~"), dirs::home_dir()) {
        (Ok(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(path),
    }
}

/// A model's entry in the cache.
pub struct Cache {
    /// `models--owner--name`.
    root: PathBuf,
    locks: PathBuf,
    revision: String,
    commit: Option<String>,
}

impl Cache {
    /// # Errors
    /// [`Error::Argument`] if the user has no cache.
    pub fn open(reference: &Reference) -> Result<Cache> {
        let all = match folder("HF_HUB_CACHE") {
            Some(all) => all,
            None => home()?.join("hub"),
        };
        let name = format!("models--{}", reference.repository.replace('/', "--"));
        let commit = reference.is_commit().then(|| reference.revision.clone());
        Ok(Cache { root: all.join(&name), locks: all.join(".locks").join(name), revision: reference.revision.clone(), commit })
    }

    /// Returns the revision's folder, if all that is wanted is in it.
    pub fn cached(&self, wanted: Wanted<'_>) -> Option<PathBuf> {
        let (layout, folder) = self.folder()?;
        let has = |name: &str| folder.join(name).exists();
        let state = folder.file_name()?.to_str()?;
        let is_settled = |name: &str| has(name) || self.absent(state, name).exists();
        let has_shards = |index: &str, form| shards(&folder.join(index), form).is_ok_and(|shards| shards.iter().all(|shard| has(shard)));
        let weights = || layout.weights.iter().any(|(file, index)| has(file) || has_shards(index, Form::of(file)));
        let is_complete = match wanted {
            Wanted::Model => is_settled(PROCESSOR) && weights(),
            Wanted::Files(files) => files.iter().all(|file| is_settled(file.name)),
        };
        is_complete.then_some(folder)
    }

    /// Returns the revision's folder, if it is of use without the hub. Other libraries do not record each file that a model lacks.
    pub fn usable(&self, wanted: Wanted<'_>) -> Option<PathBuf> {
        match wanted {
            Wanted::Model => self.cached(wanted),
            Wanted::Files(files) => self.folder().map(|(_, folder)| folder).filter(|folder| files.iter().any(|file| folder.join(file.name).exists())),
        }
    }

    /// Returns the revision's folder, if it has a configuration.
    fn folder(&self) -> Option<(&'static Layout, PathBuf)> {
        let folder = self.snapshot(&self.pointed()?);
        LAYOUTS.iter().find(|layout| folder.join(layout.config).exists()).map(|layout| (layout, folder))
    }

    /// Returns the commit that the revision points to.
    fn pointed(&self) -> Option<String> {
        self.commit.clone().or_else(|| {
            let commit = String::from_utf8(storage::read(&self.pointer(), LARGEST_REF).ok()?).ok()?;
            // It becomes a folder.
            Some(commit.trim().to_owned()).filter(|commit| is_plain(commit))
        })
    }

    /// Returns the path of the file that has the commit of the revision.
    fn pointer(&self) -> PathBuf {
        self.root.join("refs").join(&self.revision)
    }

    /// Returns the folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Returns the path of a blob.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(hash)
    }

    /// Returns the path of an incomplete download.
    pub fn partial(&self, key: &str) -> PathBuf {
        self.blob(&format!("{key}.incomplete"))
    }

    /// Locks `key` against other processes until the returned file is dropped.
    pub fn lock(&self, key: &str) -> Result<File> {
        let path = self.locks.join(format!("{key}.lock"));
        create_parent(&path)?;
        remove_link(&path)?;
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Whether a commit's snapshot has a blob. A copy or a hard link does not reveal its blob, and is assumed to match.
    pub fn is_linked(&self, commit: &str, name: &str, hash: &str) -> bool {
        let path = self.snapshot(commit).join(name);
        path.exists() && fs::read_link(&path).map_or(true, |target| target.file_name() == Some(hash.as_ref()))
    }

    /// Links a blob into a commit's snapshot. Other processes may be reading the snapshot, so a link that is already there is replaced in one step.
    pub fn link(&self, commit: &str, name: &str, hash: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        create_parent(&path)?;
        let blob = self.blob(hash);
        let new = storage::partial(&blob);
        // Some file systems have no links, and symbolic ones need a privilege on Windows.
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(hash), &new).or_else(|_| fs::hard_link(&blob, &new));
        #[cfg(not(unix))]
        let linked = fs::hard_link(&blob, &new);
        let placed = linked.or_else(|_| fs::copy(&blob, &new).map(drop)).and_then(|()| fs::rename(&new, &path));
        placed.map_err(|error| {
            let _ = fs::remove_file(&new);
            Error::io(&path)(error)
        })
    }

    /// Records that a commit lacks a file, as the Python library does. Without the record, the hub is asked again.
    pub fn mark_absent(&self, commit: &str, name: &str) {
        let path = self.absent(commit, name);
        let _ = create_parent(&path).map(|()| File::create_new(&path));
    }

    fn absent(&self, commit: &str, name: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(name)
    }

    /// Points the revision's name to a commit.
    pub fn point(&self, commit: &str) -> Result<()> {
        if self.pointed().as_deref() == Some(commit) {
            return Ok(());
        }
        let pointer = self.pointer();
        remove_link(&pointer)?;
        storage::write(&pointer, commit.as_bytes())
    }
}

/// Removes a link that somebody has put where a file is written, so that nothing outside the cache is.
pub fn remove_link(path: &Path) -> Result<()> {
    if path.is_symlink() { fs::remove_file(path).map_err(Error::io(path)) } else { Ok(()) }
}

/// Creates the parent folder of a file.
pub fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().expect("a path within the cache");
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_replaced_in_one_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("models--a--b");
        let cache = Cache { locks: folder.path().join(".locks"), root, revision: "main".to_owned(), commit: None };
        let blobs = ["0", "1"];
        for hash in blobs {
            storage::write(&cache.blob(hash), hash.as_bytes()).expect("a blob");
        }
        cache.link("commit", "config.json", blobs[0]).expect("a link");
        std::thread::scope(|scope| {
            let links = scope.spawn(|| (0..2000).for_each(|step| cache.link("commit", "config.json", blobs[step % 2]).expect("a link")));
            let path = cache.snapshot("commit").join("config.json");
            while !links.is_finished() {
                fs::read(&path).expect("a file at any time");
            }
        });
        assert!(cache.is_linked("commit", "config.json", blobs[1]));
        let names = |folder: &str| fs::read_dir(cache.root.join(folder)).expect("a folder").count();
        assert_eq!((names("blobs"), names("snapshots/commit")), (2, 1));
    }
}
