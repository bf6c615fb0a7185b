//! Decoding and preprocessing of images for a model.

use super::{Archive, ImageLimitArgs};
use std::path::Path;
use std::sync::Arc;
use vitraux::config::{Config, Size};
use vitraux::preprocess::Preprocess;
use vitraux::{Error, Image, Result, Tensor};

/// Tokens per image up to which a model's own size is used. Published models have 5,000 at most; a configuration of a few bytes can ask for any
/// number, and attention takes time and memory with its square.
const MOST_TOKENS: usize = 8192;

/// Preparation of images for a model, in a size that it accepts. Errors name the image.
#[derive(Clone)]
pub struct Preparation {
    pub preprocess: Preprocess,
    pub config: Config,
    pub limit: ImageLimitArgs,
    /// `[height, width]` that the user chose.
    pub chosen_size: Option<[usize; 2]>,
    /// The archive that has the images, unless they are files.
    pub archive: Option<Arc<Archive>>,
}

impl Preparation {
    /// Returns the pixel values of an image, which is a file or in the archive.
    pub fn read(&self, path: &Path) -> Result<Tensor> {
        match &self.archive {
            None => self.limit.read_beside_others(path, |image| self.apply(path, image)).map_err(|error| unlisted(path).unwrap_or(error)),
            Some(archive) => self.decode(&archive.full_name(path), &archive.read(path)?),
        }
    }

    /// Returns the pixel values of an image file in memory.
    pub fn decode(&self, name: &str, bytes: &[u8]) -> Result<Tensor> {
        self.limit.decode_beside_others(name, bytes, |image| self.apply(name.as_ref(), image))
    }

    /// Returns the pixel values of an image.
    pub fn apply(&self, name: &Path, image: Image) -> Result<Tensor> {
        let of_image = |error: Error| match error {
            Error::Argument { message, .. } => Error::Image { path: name.into(), message },
            other => other,
        };
        let size = self.preprocess.output_size([image.height, image.width]).map_err(of_image)?;
        self.check_tokens(size).map_err(of_image)?;
        self.preprocess.apply(&image).map_err(of_image)
    }

    /// Checks that an image `[height, width]` does not have too many tokens.
    pub fn check_tokens(&self, [height, width]: [usize; 2]) -> Result<()> {
        let tokens = |size| self.config.tokens(Size::Image(size));
        let most = self.chosen_size.map_or(Ok(0), tokens)?.max(MOST_TOKENS);
        let tokens = tokens([height, width])?;
        if tokens <= most {
            return Ok(());
        }
        let message = format!(
            "expected an image of at most {most} tokens after preprocessing, found {tokens} tokens ({height} x {width} pixels); to accept it anyway, which is slow, choose a size with --image-size, such as {height}x{width}"
        );
        Err(Error::Argument { argument: "image", message })
    }
}

/// Returns why the files of a folder could not be listed, so that it is among the images itself.
fn unlisted(path: &Path) -> Option<Error> {
    let source = path.is_dir().then(|| path.read_dir().err()).flatten()?;
    Some(Error::Io { path: path.into(), source })
}
