//! Vectors from the outputs of a model.

use crate::commands::Result;
use vitraux::config::{Config, Pooling};
use vitraux::{Session, Tensor};

/// Kind of vector.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Pooled features, or their projection if the model has one.
    Features,
    /// One vector of the residual stream after a block.
    Layer(usize),
    /// All tokens, after a block or at the end.
    Tokens(Option<usize>),
}

/// Conversion of outputs to vectors.
#[derive(Clone)]
pub struct Vectors {
    output: String,
    width: usize,
    /// Pooling of tokens, or `None` to take the output as it is.
    pools: Option<Pool>,
    l2: bool,
}

#[derive(Clone, Copy)]
enum Pool {
    First,
    MeanFrom(usize),
}

impl Vectors {
    pub fn new(config: &Config, what: What, l2: bool) -> Result<Vectors> {
        let (What::Layer(layer) | What::Tokens(Some(layer))) = what else {
            let (output, width) = match what {
                What::Features => config.vector_output().ok_or_else(|| format!("{} has no pooled features; use --tokens or --layer", config.name))?,
                _ => ("tokens", config.width),
            };
            return Ok(Vectors { output: output.to_owned(), width, pools: None, l2 });
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

    /// Describes the vectors and their model, so that a resumed run can compare them with those of the earlier run.
    pub fn describe(&self, model: &str) -> String {
        let pool = match self.pools {
            None => "as it is".to_owned(),
            Some(Pool::First) => "first token".to_owned(),
            Some(Pool::MeanFrom(first)) => format!("mean of the tokens from {first} on"),
        };
        format!("{}, {pool}{} of {model}", self.output, if self.l2 { ", of length 1," } else { "," })
    }

    /// Returns these vectors, divided by their Euclidean norms or not.
    pub fn normalized(self, l2: bool) -> Vectors {
        Vectors { l2, ..self }
    }

    /// Returns the name of the output that the vectors are made from.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// Returns the number of values in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Computes the vectors of images: `[B, width]`, or `[B, N, width]` for all tokens.
    pub fn by(&self, session: &mut Session, pixel_values: &Tensor) -> vitraux::Result<Tensor> {
        self.of(&session.forward_blocking(pixel_values, &[&self.output])?[&self.output])
    }

    /// Converts an output.
    pub fn of(&self, output: &Tensor) -> vitraux::Result<Tensor> {
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
