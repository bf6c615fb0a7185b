//! Safetensors files of the subcommands.

use super::Result;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
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
    let partial = partial(path);
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // What went wrong is the first error, not that there is nothing to remove.
        let _ = std::fs::remove_file(&partial);
    }
    Ok(written.map_err(failed)?)
}

/// Writes tensors with metadata; who reads the file meanwhile has either the old one or the new one.
pub fn write_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>, metadata: HashMap<String, String>, file: &Path) -> Result<()> {
    let partial = partial(file);
    let write = || -> Result<()> {
        // The library makes files that only their owner reads; this one is to be like any other.
        let permissions = File::create(&partial)?.metadata()?.permissions();
        safetensors::serialize_to_file(tensors, Some(metadata), &partial)?;
        std::fs::set_permissions(&partial, permissions)?;
        Ok(std::fs::rename(&partial, file)?)
    };
    write().map_err(|error| {
        // What went wrong is that error, not that there is nothing to remove.
        let _ = std::fs::remove_file(&partial);
        format!("{}: {error}", file.display()).into()
    })
}

/// Where a file is written before it has its name.
fn partial(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    folder(file).join(format!(".{name}.{}.partial", std::process::id()))
}
