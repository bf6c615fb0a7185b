//! Random weights, for measuring a model's speed and memory without downloading it.

use super::json::Object;
use super::positions::Positions;
use super::source::Source;
use super::weights::Weight;
use super::{Checkpoint, Outline, timm};
use crate::data::error::Result;
use crate::data::tensor::Tensor;
use std::path::Path;

impl Checkpoint {
    /// Builds one of timm's architectures, such as `vit_base_patch16_224`, with random weights of the magnitude that training
    /// starts from. The same name gives the same weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if vitraux does not run the architecture.
    pub fn random(architecture: &str) -> Result<Checkpoint> {
        random(Path::new(architecture), &serde_json::json!({ "architecture": architecture }).to_string())
    }
}

/// Builds the model of a `config.json` in timm's layout, with random weights as in [`Checkpoint::random`].
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it is not such a configuration, [`Error::Unsupported`](crate::Error::Unsupported) if vitraux does not run the
/// model.
pub fn random_of(config: &str) -> Result<Checkpoint> {
    random(Path::new("config.json"), config)
}

fn random(path: &Path, config: &str) -> Result<Checkpoint> {
    let root = Object::parse(path, config.as_bytes())?;
    let Outline { config, weights, positions, .. } = timm::read(&root, None)?;
    let mut state = 1;
    let mut small = |shape: &[usize]| Tensor::new(shape, (0..shape.iter().product()).map(|_| 0.02 * unit(&mut state)).collect());
    let table = positions.table.map(|source| {
        let [height, width] = source.grid;
        Ok(source.made_of(small(&[height * width, source.width])?, source.grid))
    });
    let positions = Positions {
        table: table.transpose()?,
        of_text: None,
        relative: positions.relative.iter().map(|source| Ok(source.made_of(small(&[source.heads, source.offsets()])?))).collect::<Result<_>>()?,
        frequencies: positions.frequencies.map(|_| small(&[2, config.depth, config.heads, config.head_width() / 2])).transpose()?,
    };
    Ok(Checkpoint {
        positions,
        weights: weights.try_map_all(|source| random_weight(&source, &mut state))?,
        config,
        tokens: None,
        similarity: None,
        text: None,
        folder: None,
        unused: 0,
        preprocess: Some(timm::preprocess(&root, None)?),
    })
}

fn random_weight(source: &Source, state: &mut u64) -> Result<Weight> {
    let (name, shape) = (source.name(), source.shape());
    let spread = match *shape {
        // Glorot and Bengio's uniform distribution, for matrices.
        [out, input] => (6.0f32 / (out + input) as f32).sqrt(),
        // Standardised weights have a deviation of 1 per channel, whatever their number.
        [_, _, _, _] => 3.0f32.sqrt(),
        _ => 0.02,
    };
    let centre = if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 };
    let values = (0..shape.iter().product()).map(|_| centre + spread * unit(state)).collect();
    Ok(Weight { name, tensor: Tensor::new(shape, values)?, learned: source.parameters() })
}

/// Returns the next number from -1 to 1 of Knuth's linear congruential generator (MMIX).
fn unit(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
}
