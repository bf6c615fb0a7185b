//! Edited shaders, from a folder laid out like vitraux' own `shaders`.

use super::images::of_listing;
use super::{Result, warn};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use vitraux::low_level::gpu::PIECES;
use vitraux::low_level::kernels::ALL;
use vitraux::low_level::record::Kernel;

/// Maximum bytes of a shader.
const LARGEST: u64 = 1 << 20;

/// Folder of edited shaders.
pub struct EditedShaders {
    folder: PathBuf,
    /// Pieces found in the folder.
    pieces: &'static [(&'static str, &'static str)],
}

impl EditedShaders {
    pub fn open(folder: &Path) -> Result<EditedShaders> {
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "no such folder" };
            return Err(format!("--shader-dir {}: expected a folder of WGSL files, found {found}", folder.display()).into());
        }
        let known: HashSet<PathBuf> =
            ALL.iter().map(|kernel| kernel.file).chain(PIECES.iter().map(|(name, _)| *name)).map(|name| file(folder, name)).collect();
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry.map_err(|error| of_listing(folder, error))?;
            if entry.path().extension().is_some_and(|extension| extension == "wgsl") && !known.contains(entry.path()) {
                warn(&format!("{}: none of vitraux's shaders has this name; ignored", entry.path().display()));
            }
        }
        let found = PIECES.iter().map(|(name, _)| (*name, file(folder, name))).filter(|(_, file)| file.exists());
        let pieces: Vec<(&str, &str)> = found.map(|(name, file)| Ok((name, read(&file)?))).collect::<Result<_>>()?;
        Ok(EditedShaders { folder: folder.to_owned(), pieces: pieces.leak() })
    }

    /// Returns a kernel with its file and its imports taken from the folder where they exist, or `None` if none of them do.
    pub fn edited(&self, kernel: &'static Kernel) -> Result<Option<&'static Kernel>> {
        let file = file(&self.folder, kernel.file);
        let (wgsl, is_there) = if file.exists() { (read(&file)?, true) } else { (kernel.wgsl, false) };
        let edited = kernel.edited(wgsl, self.pieces);
        if !is_there && !self.pieces.iter().any(|(piece, _)| edited.may_import(piece)) {
            return Ok(None);
        }
        if !wgsl.contains(&format!("fn {}(", kernel.entry)) {
            return Err(format!("{}: expected the entry point {}, found none", file.display(), kernel.entry).into());
        }
        Ok(Some(Box::leak(Box::new(edited))))
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.wgsl"))
}

/// Reads a file. Its text lives as long as the program, as kernels do.
fn read(file: &Path) -> Result<&'static str> {
    let text = String::from_utf8(vitraux::low_level::read(file, LARGEST)?).map_err(|_| format!("{}: expected WGSL in UTF-8", file.display()))?;
    Ok(text.leak())
}
