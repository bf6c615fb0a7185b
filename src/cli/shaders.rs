//! Shaders that somebody edits, from a folder that is laid out as vitraux' own `shaders`.

use super::Result;
use std::path::{Path, PathBuf};
use vitraux::record::Kernel;

/// Whether it is a folder at all.
pub fn check_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() { Ok(()) } else { Err(format!("--shader-dir {}: expected a folder of WGSL files, found none", folder.display()).into()) }
}

/// A kernel with the text of its file in a folder, as far as it is there, and of what it imports; nothing if neither is.
pub fn edited(folder: &Path, kernel: &'static Kernel) -> Result<Option<&'static Kernel>> {
    let entry = format!("fn {}(", kernel.name);
    // A file may have several entry points, whose names begin with its own.
    let stems = std::iter::successors(Some(kernel.name), |stem| stem.rsplit_once('_').map(|(stem, _)| stem));
    let has_it = |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&entry));
    let own = folder.join(format!("{}.wgsl", kernel.name));
    let file = if own.exists() { Some(own) } else { stems.map(|stem| folder.join(format!("{stem}.wgsl"))).find(has_it) };
    let (mut text, mut is_edited) = (String::new(), file.is_some());
    for line in file.as_deref().map_or(Ok(kernel.wgsl.to_owned()), read)?.lines() {
        let imported = line.strip_prefix("#import ").map(|name| folder.join("common").join(format!("{name}.wgsl"))).filter(|file| file.exists());
        is_edited |= imported.is_some();
        text.push_str(&imported.map_or(Ok(line.to_owned()), |file| read(&file))?);
        text.push('\n');
    }
    if !is_edited {
        return Ok(None);
    }
    if !text.contains(&entry) {
        let file = file.unwrap_or_else(|| folder.to_owned());
        return Err(format!("{}: expected the entry point {}, found none of that name", file.display(), kernel.name).into());
    }
    // Kernels live as long as the program; so do the few that are edited.
    Ok(Some(Box::leak(Box::new(Kernel { wgsl: text.leak(), ..*kernel }))))
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()).into())
}
