//! Classes of images: the folders in which they lie.

use crate::commands::Result;
use crate::commands::images::name;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Returns the class of an image: the name of its folder.
pub fn label(path: &Path) -> String {
    label_of(folder(path))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn label_of(folder: &Path) -> String {
    // `.` and `..` are no names.
    let name_of = |folder: &Path| folder.file_name().map(|folder| name(Path::new(folder)));
    name_of(folder).or_else(|| name_of(&real(folder))).unwrap_or_else(|| ".".to_owned())
}

fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// Returns the classes of images, in order. `searched` may have the folders in which they were found.
///
/// # Errors
/// If there is only one class, or if folders contradict each other: one lies within another, or several in a searched folder have the same name.
pub fn labels(paths: &[PathBuf], searched: &[PathBuf]) -> Result<Vec<String>> {
    let folders: BTreeSet<&Path> = paths.iter().map(|path| folder(path)).collect();
    let labels: BTreeSet<String> = folders.iter().map(|folder| label_of(folder)).collect();
    if labels.len() < 2 {
        let found: Vec<String> = labels.into_iter().collect();
        return Err(format!("expected a folder of images for each of two or more classes, found only {}", found.join(", ")).into());
    }
    let folders: BTreeMap<PathBuf, &Path> = folders.into_iter().map(|folder| (real(folder), folder)).collect();
    for (inside, shown) in &folders {
        if let Some(outer) = inside.ancestors().skip(1).find_map(|outer| folders.get(outer)) {
            let [outer, inner] = [outer, shown].map(|folder| folder.display());
            return Err(
                format!("expected a folder for each class, found images in {outer} and in {inner}; move them, or exclude some by --glob").into()
            );
        }
    }
    for root in searched.iter().map(|root| real(root)) {
        let mut first = BTreeMap::new();
        for (_, folder) in folders.iter().filter(|(folder, _)| folder.starts_with(&root)) {
            if let Some(other) = first.insert(label_of(folder), folder) {
                let [other, folder] = [other, folder].map(|folder| folder.display());
                return Err(format!(
                    "expected a folder for each class, found {other} and {folder}, which have the same name; give the folders that hold those of the classes"
                )
                .into());
            }
        }
    }
    Ok(labels.into_iter().collect())
}
