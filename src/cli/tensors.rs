//! Safetensors files of the subcommands.

use super::Result;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::Path;
use vitraux::{Tensor, checkpoint};

/// One tensor of a file.
pub fn read(path: &Path, name: &str) -> Result<Tensor> {
    Ok(checkpoint::open_tensor(path, name)?)
}

/// Whether a file can be written there: said before the work, not after it.
pub fn check_output(path: &Path) -> Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(format!("{}: expected a file's name, found a folder", path.display()).into());
    }
    match folder(path).is_dir() {
        true => Ok(()),
        false => Err(format!("{}: no such folder", folder(path).display()).into()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes tensors; an interrupted run leaves no half file under the final name.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let values: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec(), tensor.values())).collect();
    let views = values
        .iter()
        .map(|(name, shape, values)| Ok((*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?)))
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)?;
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    // A pipe or a device is written to; a file is replaced as a whole.
    if path.exists() && !path.is_file() {
        return Ok(std::fs::write(path, bytes).map_err(failed)?);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder(path).join(format!(".{name}.{}.partial", std::process::id()));
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // What went wrong is the first error, not that there is nothing to remove.
        let _ = std::fs::remove_file(&partial);
    }
    Ok(written.map_err(failed)?)
}

/// Writes tensors with metadata; who reads the file meanwhile has either the old one or the new one.
pub fn write_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>, metadata: HashMap<String, String>, file: &Path) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    // The library makes files that only their owner reads; this one is to be like any other.
    let is_new = !file.exists();
    let like_any = OpenOptions::new().write(true).create(true).truncate(false).open(file).and_then(|file| file.metadata());
    let permissions = like_any.map_err(|error| failed(&error))?.permissions();
    let written = safetensors::serialize_to_file(tensors, Some(metadata), file);
    if written.is_err() && is_new {
        // It is empty.
        let _ = std::fs::remove_file(file);
    }
    written.map_err(|error| failed(&error))?;
    Ok(std::fs::set_permissions(file, permissions).map_err(|error| failed(&error))?)
}
