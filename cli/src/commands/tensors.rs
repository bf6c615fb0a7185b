//! Safetensors files read and written by the subcommands.

use super::output::replace;
use super::{Result, of_file};
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::Path;
use vitraux::Tensor;
use vitraux::low_level::checkpoint;

/// Reads one tensor from a file.
pub fn read(path: &Path, name: &str) -> Result<Tensor> {
    Ok(checkpoint::open_tensor(path, name)?)
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

/// Writes tensors with metadata, as [`replace`] does.
pub fn write_tensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>,
    metadata: Option<HashMap<String, String>>,
    file: &Path,
) -> Result<()> {
    replace(file, |path| {
        // Pipes and devices cannot be created.
        if !path.is_file() {
            return std::fs::write(path, safetensors::serialize(tensors, metadata)?).map_err(of_file(file));
        }
        safetensors::serialize_to_file(tensors, metadata, path).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => of_file(file)(error),
            other => format!("{}: {other}", file.display()).into(),
        })
    })
}
