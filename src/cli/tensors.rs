//! Safetensors files of the subcommands.

use super::Result;
use safetensors::tensor::TensorView;
use std::path::Path;
use vitraux::{Tensor, checkpoint};

/// One tensor of a file.
pub fn read(path: &Path, name: &str) -> Result<Tensor> {
    Ok(checkpoint::open_tensor(path, name)?)
}

/// Writes tensors; an interrupted run leaves no half file under the final name.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let values: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec(), tensor.values())).collect();
    let views = values
        .iter()
        .map(|(name, shape, values)| Ok((*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?)))
        .collect::<Result<Vec<_>>>()?;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or_else(|| failed(&"expected a file's name"))?);
    name.push(".partial");
    let partial = folder.join(name);
    safetensors::serialize_to_file(views, None, &partial).map_err(|error| failed(&error))?;
    std::fs::rename(&partial, path).map_err(|error| failed(&error))?;
    Ok(())
}
