//! A model's entry in the cache that Hugging Face's libraries share: `blobs` by hash, `snapshots` of links to them by
//! commit, and `refs` from revision names to commits.

use super::form::Form;
use super::reference::Reference;
use super::{LAYOUTS, Layout, PROCESSOR, Wanted, shards};
use crate::data::error::{Error, Result};
use hf_hub::{CacheRepo, Repo, RepoType};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A model's entry in the cache.
pub struct Cache {
    repo: CacheRepo,
    /// `models--owner--name`.
    name: String,
    root: PathBuf,
    commit: Option<String>,
}

impl Cache {
    pub fn open(reference: &Reference) -> Cache {
        // `hf-hub` reads only HF_HOME.
        let cache = match std::env::var_os("HF_HUB_CACHE").filter(|path| !path.is_empty()) {
            Some(path) => hf_hub::Cache::new(path.into()),
            None => hf_hub::Cache::from_env(),
        };
        let repo = Repo::with_revision(reference.repository.clone(), RepoType::Model, reference.revision.clone());
        let commit = reference.is_commit().then(|| reference.revision.clone());
        Cache { name: repo.folder_name(), root: cache.path().clone(), repo: cache.repo(repo), commit }
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
        let folder = |config: &str| match &self.commit {
            Some(commit) => Some(self.snapshot(commit)).filter(|folder| folder.join(config).exists()),
            None => Some(self.repo.get(config)?.parent()?.to_owned()),
        };
        LAYOUTS.iter().find_map(|layout| Some((layout, folder(layout.config)?)))
    }

    /// Returns the folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// Returns the path of a blob.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.root.join(&self.name).join("blobs").join(hash)
    }

    /// Returns the path of an incomplete download.
    pub fn partial(&self, key: &str) -> PathBuf {
        self.blob(&format!("{key}.incomplete"))
    }

    /// Locks `key` against other processes until the returned file is dropped.
    pub fn lock(&self, key: &str) -> Result<File> {
        let path = self.root.join(".locks").join(&self.name).join(format!("{key}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Whether a commit's snapshot has a blob. A copy or a hard link does not reveal its blob, and is assumed to match.
    pub fn is_linked(&self, commit: &str, name: &str, hash: &str) -> bool {
        let path = self.snapshot(commit).join(name);
        path.exists() && fs::read_link(&path).map_or(true, |target| target.file_name() == Some(hash.as_ref()))
    }

    /// Links a blob into a commit's snapshot.
    pub fn link(&self, commit: &str, name: &str, hash: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        create_parent(&path)?;
        // A link to another blob, or to a deleted one, may be in the way.
        let _ = fs::remove_file(&path);
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(hash), &path);
        // Symbolic links need a privilege on Windows.
        #[cfg(not(unix))]
        let linked = fs::hard_link(self.blob(hash), &path);
        linked.map_err(Error::io(&path))
    }

    /// Records that a commit lacks a file, as the Python library does.
    pub fn mark_absent(&self, commit: &str, name: &str) -> Result<()> {
        let path = self.absent(commit, name);
        create_parent(&path)?;
        fs::write(&path, "").map_err(Error::io(&path))
    }

    fn absent(&self, commit: &str, name: &str) -> PathBuf {
        self.root.join(&self.name).join(".no_exist").join(commit).join(name)
    }

    /// Points the revision's name to a commit.
    pub fn point(&self, commit: &str) -> Result<()> {
        match self.commit {
            Some(_) => Ok(()),
            None => self.repo.create_ref(commit).map_err(Error::io(&self.root)),
        }
    }
}

/// Creates the parent folder of a file.
pub fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().expect("a path within the cache");
    fs::create_dir_all(folder).map_err(Error::io(folder))
}
