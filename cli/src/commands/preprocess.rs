use super::images::ImageLimitArgs;
use super::output::{check_named, check_replaceable, protect};
use super::{ModelArgs, Result, note, tensors, warn_if_assumed};
use clap::Args;
use std::path::PathBuf;
use vitraux::Tensor;

/// Pixels up to which a model's own size is used: four times those of published models.
const MOST_PIXELS: usize = 1 << 22;

#[derive(Debug, Args)]
pub struct Preprocess {
    /// Safetensors file to write: `pixel_values` [B, channels, height, width], F32
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Images: PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, JPEG XL or HEIC
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
        check_replaceable(&self.output)?;
        let preprocess = self.model.preprocess()?;
        protect(&self.output, self.images.iter().chain(&self.model.files()))?;
        warn_if_assumed(Some(&preprocess));
        let mut prepared: Vec<Tensor> = Vec::new();
        for path in &self.images {
            let image = self.limit.read(path)?;
            let [height, width] = preprocess.output_size([image.height, image.width])?;
            if height * width > MOST_PIXELS && self.model.image_size().is_none() {
                return Err(format!(
                    "{}: the model's preprocessing makes {height} x {width} pixels of it; choose a size with --image-size, such as {height}x{width} for this one",
                    path.display()
                )
                .into());
            }
            let pixel_values = preprocess.apply(&image)?;
            if let Some(first) = prepared.first().filter(|first| first.shape() != pixel_values.shape()) {
                let expected = "expected images of one size, because the model neither resizes nor crops";
                return Err(format!("{}: {expected}; found {:?} after {:?}", path.display(), pixel_values.shape(), first.shape()).into());
            }
            prepared.push(pixel_values);
        }
        tensors::write(&self.output, [("pixel_values", &Tensor::stack(prepared)?)])?;
        note(&format!("pixel values: {}", self.output.display()));
        Ok(())
    }
}
