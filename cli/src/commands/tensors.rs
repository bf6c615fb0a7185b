//! Safetensors files read and written by the subcommands.

use super::output::replace_with;
use super::{Result, of_file};
use safetensors::tensor::{TensorInfo, TensorView};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
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

/// Maximum bytes of a header, by the specification of safetensors.
const LARGEST_HEADER: usize = 100_000_000;

/// Writes tensors with metadata, as [`replace_with`] does. The `safetensors` crate writes a file of its own, which a killed run would leave behind, and the metadata in
/// another order each time.
pub fn write_tensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>,
    metadata: Option<BTreeMap<&str, String>>,
    file: &Path,
) -> Result<()> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    // Larger types first, so that all values are aligned.
    tensors.sort_by_key(|(name, tensor)| (Reverse(tensor.dtype()), *name));
    let mut header: BTreeMap<&str, _> = metadata.into_iter().map(|metadata| ("__metadata__", json!(metadata))).collect();
    let mut end = 0;
    for (name, tensor) in &tensors {
        let start = end;
        end += tensor.data().len();
        let info = TensorInfo { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), data_offsets: (start, end) };
        header.insert(name, serde_json::to_value(info)?);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    if header.len() > LARGEST_HEADER {
        let found = header.len();
        return Err(format!("{}: expected a header of at most {LARGEST_HEADER} bytes, found {found}", file.display()).into());
    }
    let size = (header.len() as u64).to_le_bytes();
    replace_with(file, |out| {
        let mut parts = [size.as_slice(), &header].into_iter().chain(tensors.iter().map(|(_, tensor)| tensor.data()));
        parts.try_for_each(|part| out.write_all(part)).map_err(of_file(file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, SafeTensors};

    #[test]
    fn written_files_have_the_bytes_of_the_safetensors_crate() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.safetensors");
        let bytes: Vec<u8> = (0..24).collect();
        let of = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor");
        let tensors = || [("b", of(Dtype::U8, &[3], &bytes[..3])), ("a", of(Dtype::U8, &[0], &[])), ("c", of(Dtype::F32, &[2, 3], &bytes))];
        let metadata = ("model", "\"x\"\n".to_owned());
        write_tensors(tensors(), Some([metadata.clone()].into()), &file).expect("it is written");
        let written = std::fs::read(&file).expect("a file");
        let crates = [(metadata.0.to_owned(), metadata.1)].into();
        let expected = safetensors::serialize(tensors(), Some(crates)).expect("bytes");
        let data = |bytes: &[u8]| bytes[8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize..].to_vec();
        assert!(written.len() == expected.len() && data(&written) == data(&expected));
        let read = |bytes| SafeTensors::read_metadata(bytes).expect("a header").1;
        assert_eq!(serde_json::to_value(read(&written)).expect("JSON"), serde_json::to_value(read(&expected)).expect("JSON"));
        // Of equal contents, equal files.
        let names = ["a", "b", "c", "d", "e"];
        let more = || Some(names.iter().rev().map(|name| (*name, name.to_string())).collect());
        let files = [folder.path().join("1"), folder.path().join("2")];
        files.iter().for_each(|file| write_tensors(tensors(), more(), file).expect("it is written"));
        assert_eq!(files.each_ref().map(|file| std::fs::read(file).expect("a file")).iter().collect::<std::collections::HashSet<_>>().len(), 1);
    }

    #[test]
    fn headers_beyond_the_limit_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.safetensors");
        let metadata = Some([("images", "x".repeat(LARGEST_HEADER))].into());
        let refused = write_tensors([], metadata, &file).expect_err("the header is too large");
        assert!(refused.to_string().contains("header of at most 100000000 bytes"), "{refused}");
        assert!(!file.exists());
    }
}
