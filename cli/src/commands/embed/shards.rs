//! Arrays of the images in tar archives, one for each.

use super::store::{check_complete, is_complete, protect};
use super::{Embed, Format, Store, Vectors};
use crate::commands::images::{Archive, Preparation, counted, name};
use crate::commands::{Failed, Interrupted, Result, chain, error_mark, note, of_file, report};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vitraux::{Checkpoint, Session};

impl Embed {
    /// Embeds the images of each archive. One that cannot be read is reported, and the others are embedded.
    pub fn run_shards(&self, checkpoint: Checkpoint, vectors: &Vectors, format: Format) -> Result<()> {
        let extension = match format {
            Format::Npy => "npy",
            Format::Safetensors => "safetensors",
            Format::Parquet => "parquet",
            Format::Json | Format::Csv => return Err("--shards: expected --format parquet, npy or safetensors".into()),
        };
        let folder = self.lines.output().ok_or("--shards: expected a folder as --output, found standard output")?;
        std::fs::create_dir_all(folder).map_err(of_file(folder))?;
        let archives = self.pass.images.archives()?;
        let outputs = outputs(&archives, folder, extension)?;
        let what = vectors.describe(&self.pass.fingerprint(&checkpoint)?);
        let preparation = self.pass.preparation(&checkpoint)?;
        let mut run = Run { embed: self, vectors, format, what, preparation, checkpoint: Some(checkpoint), session: None };
        let mut failed = 0;
        for (archive, output) in archives.iter().zip(&outputs) {
            match run.shard(archive, output) {
                Ok(()) => {}
                // Those of the run: a device or a disk fails for the other archives too.
                Err(error) if self.pass.images.is_strict() || error.is::<Interrupted>() || error.is::<vitraux::Error>() => return Err(error),
                Err(error) => {
                    report(&format!("{}: {}", error_mark(), chain(&*error)));
                    failed += 1;
                }
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(format!("{failed} of {} archives failed, or images of them", archives.len()).into()),
        }
    }
}

/// State that the archives of a run share.
struct Run<'a> {
    embed: &'a Embed,
    vectors: &'a Vectors,
    format: Format,
    /// Description of the vectors.
    what: String,
    preparation: Preparation,
    /// The model, until an archive needs it.
    checkpoint: Option<Checkpoint>,
    session: Option<Session>,
}

impl Run<'_> {
    /// Embeds the images of an archive, unless that is done.
    fn shard(&mut self, file: &Path, output: &Path) -> Result<()> {
        let Run { embed, vectors, format, ref what, .. } = *self;
        if is_complete(output) {
            let (_, members) = Archive::open(file)?;
            check_complete(output, format, what, &members)?;
            note(&format!("{}: already done", output.display()));
            return Ok(());
        }
        protect(output, format, std::iter::once(&file.to_owned()).chain(&embed.pass.files()))?;
        let (archive, members) = Archive::open(file)?;
        if members.is_empty() {
            note(&format!("{}: no images", file.display()));
            return Ok(());
        }
        let count = members.len();
        let store = Store::open(output, format, what.clone(), vectors.width(), true)?;
        let preparation = Preparation { archive: Some(Arc::new(archive)), ..self.preparation.clone() };
        match embed.pass.images.open(members, |member| store.has(&name(member)), preparation)? {
            None => store.finish(format)?,
            Some(images) => {
                if let Some(checkpoint) = self.checkpoint.take() {
                    self.session = Some(embed.pass.load(checkpoint)?);
                }
                let session = self.session.as_mut().expect("just loaded");
                let filled = embed.fill(store, images, session, vectors, format);
                filled.map_err(|error| if error.is::<Failed>() { format!("{}: {error}", file.display()).into() } else { error })?;
            }
        }
        note(&format!("{}: {}", output.display(), counted(count)));
        Ok(())
    }
}

/// Returns the output of each archive.
fn outputs(archives: &[PathBuf], folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut known: HashMap<PathBuf, PathBuf> = HashMap::new();
    let output = |archive: &PathBuf| {
        let stem = archive.file_stem().ok_or_else(|| format!("{}: expected an archive", archive.display()))?;
        let mut name = PathBuf::from(stem);
        name.as_mut_os_string().push(format!(".{extension}"));
        let output = folder.join(name);
        match known.insert(output.clone(), archive.clone()) {
            None => Ok(output),
            Some(other) => Err(format!("{} and {} would both be written to {}", other.display(), archive.display(), output.display()).into()),
        }
    };
    archives.iter().map(output).collect()
}
