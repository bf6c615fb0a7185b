//! Safetensors files read and written by the subcommands.

use super::Result;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use vitraux::Tensor;
use vitraux::low_level::checkpoint;

/// Reads one tensor from a file.
pub fn read(path: &Path, name: &str) -> Result<Tensor> {
    Ok(checkpoint::open_tensor(path, name)?)
}

/// Checks, before any work is done, that a path names a file in an existing folder.
pub fn check_output(path: &Path) -> Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(format!("{}: expected a file name, found a folder", path.display()).into());
    }
    match folder(path).is_dir() {
        true => Ok(()),
        false => Err(format!("{}: no such folder", folder(path).display()).into()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes tensors to a file.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let values: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec(), tensor.values())).collect();
    let views = values
        .iter()
        .map(|(name, shape, values)| Ok((*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?)))
        .collect::<Result<Vec<_>>>()?;
    write_tensors(views, None, path)
}

/// Writes tensors with metadata. Readers see either the old file or the new one. Pipes and devices are written to directly.
pub fn write_tensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>,
    metadata: Option<HashMap<String, String>>,
    file: &Path,
) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    if file.exists() && !file.is_file() {
        let bytes = safetensors::serialize(tensors, metadata)?;
        return Ok(std::fs::write(file, bytes).map_err(|error| failed(&error))?);
    }
    // For a link, replace its target, not the link.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let partial = partial(&target);
    let write = || -> Result<()> {
        // The library creates files that only their owner can read; this one gets the usual permissions.
        let permissions = File::create(&partial)?.metadata()?.permissions();
        safetensors::serialize_to_file(tensors, metadata, &partial)?;
        std::fs::set_permissions(&partial, permissions)?;
        Ok(std::fs::rename(&partial, &target)?)
    };
    write().map_err(|error| {
        // Report the first error, even if the partial file cannot be removed.
        let _ = std::fs::remove_file(&partial);
        failed(&error).into()
    })
}

/// Checks that a file can be replaced, before any work is done.
pub fn check_replaceable(file: &Path) -> Result<()> {
    check_output(file)?;
    let partial = partial(&file.canonicalize().unwrap_or_else(|_| file.to_owned()));
    let tried = File::create(&partial).and_then(|_| std::fs::remove_file(&partial));
    Ok(tried.map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Returns the path that a file is written to before it is renamed.
fn partial(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    folder(file).join(format!(".{name}.{}.partial", std::process::id()))
}
