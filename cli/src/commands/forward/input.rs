//! Inputs of a model from a safetensors file, by their names in the reference libraries.

use super::super::{Result, tensors};
use std::path::Path;
use vitraux::config::{Config, Size};
use vitraux::low_level::checkpoint::{open_integers, open_mask, sinusoidal, tensor_names};
use vitraux::{Outputs, Session, Tensor, Tokens};

/// What a file has for a model: images or embeddings, texts, or both.
pub struct Input {
    pub images: Option<Images>,
    pub texts: Option<Tokens>,
}

/// Images or embeddings.
pub enum Images {
    /// `pixel_values` `[B, channels, height, width]`.
    Pixels(Tensor),
    /// `pixel_values` `[B, N, values]`, and the rows and columns of each image's patches.
    Patches(Tensor, Vec<[usize; 2]>),
    /// `input` `[B, N, C]`, and the tokens to ignore `[B, N]`.
    Embeddings(Tensor, Option<Tensor>),
}

impl Input {
    /// Reads what the model takes. A model of images and texts needs one of them.
    pub fn open(path: &Path, config: &Config, takes_texts: bool) -> Result<Input> {
        let names = tensor_names(path)?;
        let has = |name: &str| names.iter().any(|known| known == name);
        let texts = (takes_texts && has("input_ids") || config.is_text()).then(|| tokens(path, has("attention_mask"))).transpose()?;
        let images = match config.is_text() || (texts.is_some() && !has("pixel_values")) {
            true => None,
            false => Some(Images::open(path, config, has)?),
        };
        Ok(Input { images, texts })
    }
}

impl Images {
    fn open(path: &Path, config: &Config, has: impl Fn(&str) -> bool) -> Result<Images> {
        if config.patches().is_none() {
            let values = match has("input") || !has("embeddings") {
                true => tensors::read(path, "input")?,
                false => positioned(&tensors::read(path, "embeddings")?, config)?,
            };
            return Ok(Images::Embeddings(values, has("key_padding_mask").then(|| open_mask(path, "key_padding_mask")).transpose()?));
        }
        let pixels = tensors::read(path, "pixel_values")?;
        if !config.native_grids || pixels.shape().len() != 3 {
            return Ok(Images::Pixels(pixels));
        }
        let shapes = open_integers(path, "spatial_shapes")?;
        let grids: Vec<[usize; 2]> = shapes.values().chunks(2).filter_map(|pair| Some([*pair.first()? as usize, *pair.get(1)? as usize])).collect();
        if has("pixel_attention_mask") {
            check_mask(&open_integers(path, "pixel_attention_mask")?, &grids)?;
        }
        Ok(Images::Patches(pixels, grids))
    }

    /// Returns height and width, if they are those of all images.
    pub fn size(&self) -> Option<[usize; 2]> {
        match self {
            Images::Pixels(values) => values.shape().last_chunk().copied(),
            Images::Patches(..) | Images::Embeddings(..) => None,
        }
    }

    pub fn forward(&self, session: &mut Session, wanted: &[&str]) -> vitraux::Result<Outputs> {
        match self {
            Images::Pixels(values) | Images::Embeddings(values, None) => session.forward_blocking(values, wanted),
            Images::Patches(values, grids) => session.forward_patches_blocking(values, grids, wanted),
            Images::Embeddings(values, Some(mask)) => session.forward_masked_blocking(values, mask, wanted),
        }
    }
}

/// Reads `input_ids` `[B, N]` and the mask of the same shape.
fn tokens(path: &Path, has_mask: bool) -> Result<Tokens> {
    let ids = open_integers(path, "input_ids")?;
    let &[batch, count] = ids.shape() else { return Err(format!("input_ids: expected [B, N], found {:?}", ids.shape()).into()) };
    let values = ids.values();
    if let Some(id) = values.iter().find(|id| **id < 0.0) {
        return Err(format!("input_ids: expected ids from 0 on, found {id}").into());
    }
    let mask = match has_mask {
        false => None,
        true => Some(open_integers(path, "attention_mask")?.values().iter().map(|value| *value != 0.0).collect()),
    };
    Ok(Tokens::new([batch, count], values.iter().map(|id| *id as u32).collect(), mask)?)
}

/// Checks that a mask marks the patches of the grids, and nothing else.
fn check_mask(mask: &Tensor, grids: &[[usize; 2]]) -> Result<()> {
    let values = mask.values();
    let count = values.len() / grids.len().max(1);
    let fits = |(row, grid): (&[f32], &[usize; 2])| row.iter().enumerate().all(|(n, value)| (*value != 0.0) == (n < grid[0].saturating_mul(grid[1])));
    match count > 0 && values.chunks(count).zip(grids).all(fits) {
        true => Ok(()),
        false => Err("pixel_attention_mask: expected a 1 for each patch of spatial_shapes, and 0 for the padding behind them".into()),
    }
}

/// Multiplies embeddings by the square root of their width and adds sinusoidal positions (Vaswani et al. 2017, section 3.4).
fn positioned(embeddings: &Tensor, config: &Config) -> Result<Tensor> {
    let tokens = match *embeddings.shape() {
        [_, tokens, width] if width == config.width => tokens,
        ref found => return Err(format!("embeddings: expected [B, N, {}], found {found:?}", config.width).into()),
    };
    // An empty tensor can claim any number of tokens.
    config.tokens(Size::Sequence(tokens))?;
    let positions = sinusoidal(tokens, config.width);
    let scale = (config.width as f32).sqrt();
    let values = embeddings.values().iter().zip(positions.values().iter().cycle()).map(|(value, position)| value * scale + position).collect();
    Ok(Tensor::new(embeddings.shape(), values)?)
}
