//! From a model's outputs to the vectors that are asked for.

use crate::commands::Result;
use vitraux::config::{Config, Pooling};
use vitraux::{Session, Tensor};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// What the model pools; where it projects that, the projection.
    Features,
    /// A vector of the residual stream behind a block.
    Layer(usize),
    /// All tokens, behind a block or at the end.
    Tokens(Option<usize>),
}

/// What makes vectors of outputs.
pub struct Vectors {
    output: String,
    width: usize,
    /// Of tokens: the one that is taken, or the first of those that are averaged. Without, the output is taken as it is.
    pools: Option<Pool>,
    l2: bool,
}

enum Pool {
    First,
    MeanFrom(usize),
}

impl Vectors {
    pub fn new(config: &Config, what: What, l2: bool) -> Result<Vectors> {
        let (What::Layer(layer) | What::Tokens(Some(layer))) = what else {
            return Ok(match (what, config.projection, config.pooling) {
                (What::Features, None, None) => return Err(format!("{} pools nothing; ask for --tokens or --layer", config.name).into()),
                (What::Features, Some(width), _) => Vectors { output: "image_embeds".to_owned(), width, pools: None, l2 },
                (What::Features, None, Some(_)) => Vectors { output: "features".to_owned(), width: config.feature_width(), pools: None, l2 },
                _ => Vectors { output: "tokens".to_owned(), width: config.width, pools: None, l2 },
            });
        };
        if layer >= config.depth {
            return Err(format!("--layer: expected 0 to {}, found {layer}", config.depth - 1).into());
        }
        let pools = match (what, config.pooling) {
            (What::Tokens(_), _) => None,
            (_, Some(Pooling::First | Pooling::MeanOfTwo | Pooling::FirstAndMeanFrom(_))) => Some(Pool::First),
            _ => Some(Pool::MeanFrom(config.prefix_tokens)),
        };
        Ok(Vectors { output: format!("hidden.{layer}"), width: config.width, pools, l2 })
    }

    /// What they are, and of which model, for who goes on with those of an earlier run.
    pub fn describe(&self, model: &str) -> String {
        let pool = match self.pools {
            None => "as it is".to_owned(),
            Some(Pool::First) => "first token".to_owned(),
            Some(Pool::MeanFrom(first)) => format!("mean of the tokens from {first} on"),
        };
        format!("{}, {pool}{} of {model}", self.output, if self.l2 { ", of length 1," } else { "," })
    }

    /// Values of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Those of images: `[B, width]`, or of tokens `[B, N, width]`.
    pub fn by(&self, session: &mut Session, pixel_values: &Tensor) -> vitraux::Result<Tensor> {
        self.of(&session.forward_blocking(pixel_values, &[&self.output])?[&self.output])
    }

    fn of(&self, output: &Tensor) -> vitraux::Result<Tensor> {
        let (shape, values) = (output.shape(), output.values());
        let mut vectors = match (&self.pools, shape) {
            (Some(pool), &[_, tokens, width]) => values.chunks(tokens * width).flat_map(|image| pool.of(image, width)).collect(),
            _ => values.to_vec(),
        };
        if self.l2 {
            for vector in vectors.chunks_mut(self.width) {
                let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                vector.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
            }
        }
        let shape = if self.pools.is_some() { vec![shape[0], self.width] } else { shape.to_vec() };
        Tensor::new(shape, vectors)
    }
}

impl Pool {
    fn of(&self, tokens: &[f32], width: usize) -> Vec<f32> {
        match *self {
            Pool::First => tokens[..width].to_vec(),
            Pool::MeanFrom(first) => {
                let patches = &tokens[first * width..];
                let count = (patches.len() / width) as f64;
                (0..width).map(|c| (patches.iter().skip(c).step_by(width).map(|value| f64::from(*value)).sum::<f64>() / count) as f32).collect()
            }
        }
    }
}
