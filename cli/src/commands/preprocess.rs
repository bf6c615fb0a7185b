use super::images::ImageLimitArgs;
use super::output::{check_named, protect};
use super::{ModelArgs, Result, note, tensors, warn_if_assumed};
use clap::Args;
use std::path::PathBuf;
use vitraux::Tensor;

#[derive(Debug, Args)]
pub struct Preprocess {
    /// Safetensors file to write: `pixel_values` [B, channels, height, width], F32
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Images: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limit: ImageLimitArgs,
}

impl Preprocess {
    pub fn run(self) -> Result<()> {
        check_named(&self.output, "safetensors")?;
        let preprocess = self.model.preprocess()?;
        protect(&self.output, self.images.iter().chain(&self.model.files()))?;
        warn_if_assumed(Some(&preprocess));
        let mut shape = Vec::new();
        let mut values = Vec::new();
        for path in &self.images {
            let pixel_values = preprocess.apply(&self.limit.read(path)?)?;
            if shape.is_empty() {
                shape = pixel_values.shape().to_vec();
            } else if shape[1..] != pixel_values.shape()[1..] {
                let expected = "expected images of one size, because the model neither resizes nor crops";
                return Err(format!("{}: {expected}; found {:?} after {shape:?}", path.display(), pixel_values.shape()).into());
            }
            values.extend_from_slice(&pixel_values.values());
        }
        shape[0] = self.images.len();
        tensors::write(&self.output, [("pixel_values", &Tensor::new(shape, values)?)])?;
        note(&format!("pixel values: {}", self.output.display()));
        Ok(())
    }
}
