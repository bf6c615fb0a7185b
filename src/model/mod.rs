//! The Vision Transformer as a recording: which kernels, in what order, over which buffers.

use crate::checkpoint::{Block, Weight, Weights};
use crate::config::{Config, Pooling};
use crate::error::{Error, Result};
use crate::kernels::{self, Epilogue};
use crate::record::{Buf, Limits, Recording};

/// The names that a forward pass can give, in the order of the computation.
///
/// - `embeddings` `[B, N, C]`: what enters block 0
/// - `attn.i` `[B, H, N, N]`: the attention probabilities of block i
/// - `hidden.i` `[B, N, C]`: the residual stream after block i
/// - `tokens` `[B, N, C]`: after the last norm, if the model has one there
/// - `features` `[B, C]`: the pooled vector
/// - `logits` `[B, classes]`: raw scores, if there is a head
/// - `probabilities` `[B, classes]`: their softmax
pub fn output_names(config: &Config) -> Vec<String> {
    let mut names = vec!["embeddings".to_owned()];
    for i in 0..config.depth {
        names.extend([format!("attn.{i}"), format!("hidden.{i}")]);
    }
    names.extend(["tokens", "features"].map(str::to_owned));
    if config.classes > 0 {
        names.extend(["logits", "probabilities"].map(str::to_owned));
    }
    names
}

/// Records a forward pass over a batch of images that gives the outputs `wanted`.
///
/// # Errors
/// [`Error::Argument`] for an unknown output, [`Error::Limit`] if the batch does not fit the device.
pub fn record(config: &Config, weights: &Weights<Weight>, batch: usize, wanted: &[&str], limits: Limits) -> Result<Recording> {
    let known = output_names(config);
    if let Some(unknown) = wanted.iter().find(|name| !known.iter().any(|known| known == *name)) {
        return Err(Error::Argument(format!("no output {unknown:?}; this model has {}", summary(config))));
    }
    let mut recording = Recording::new(limits);
    let weights = weights.clone().try_map(|weight| recording.weight(weight.name, weight.tensor.shape()))?;
    let scratch = Scratch::new(&mut recording, config, batch)?;
    let mut forward = Forward { recording, config, scratch, wanted, batch, probabilities: None };
    forward.embeddings(&weights)?;
    for (i, block) in weights.blocks.iter().enumerate() {
        forward.block(i, block)?;
    }
    forward.head(&weights)?;
    Ok(forward.recording)
}

fn summary(config: &Config) -> String {
    let head = if config.classes > 0 { ", logits, probabilities" } else { "" };
    format!("embeddings, attn.0 to attn.{0}, hidden.0 to hidden.{0}, tokens, features{head}", config.depth - 1)
}

/// The buffers that the blocks take turns with.
struct Scratch {
    /// The residual stream, `[B, N, C]`.
    stream: Buf,
    /// What a norm gives, `[B, N, C]`.
    normed: Buf,
    /// Packed queries, keys and values, `[B, N, 3·C]`.
    qkv: Buf,
    /// What attention gives, `[B, N, C]`.
    attended: Buf,
    /// Inside the MLP, `[B, N, F]`.
    hidden: Buf,
}

impl Scratch {
    fn new(recording: &mut Recording, config: &Config, batch: usize) -> Result<Scratch> {
        let mut tokens = |label: &str, width| recording.scratch(label, &[batch, config.tokens(), width]);
        Ok(Scratch {
            stream: tokens("stream", config.width)?,
            normed: tokens("normed", config.width)?,
            qkv: tokens("qkv", 3 * config.width)?,
            attended: tokens("attended", config.width)?,
            hidden: tokens("hidden", config.mlp_width)?,
        })
    }
}

/// A recording in the making.
struct Forward<'a> {
    recording: Recording,
    config: &'a Config,
    scratch: Scratch,
    wanted: &'a [&'a str],
    batch: usize,
    /// [B, H, N, N], if attention is tapped: all blocks share it.
    probabilities: Option<Buf>,
}

impl Forward<'_> {
    fn wants(&self, name: &str) -> bool {
        self.wanted.contains(&name)
    }

    fn save(&mut self, name: &str, from: Buf) {
        if self.wants(name) {
            self.recording.save(name, from);
        }
    }

    /// Patches, prefix tokens and positions (Dosovitskiy et al. 2021, equation 1).
    fn embeddings(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let (config, recording) = (self.config, &mut self.recording);
        let Scratch { stream, normed, .. } = self.scratch;
        let pixels = recording.input("pixel_values", &[self.batch, config.channels, config.image[0], config.image[1]])?;
        let patches = recording.scratch("patches", &[self.batch, config.patches(), config.width])?;
        kernels::patchify(recording, "patchify".to_owned(), pixels, weights.patch.pair(), config.patch, patches)?;
        let embedded = if config.pre_norm { normed } else { stream };
        kernels::embed(recording, "embed".to_owned(), patches, weights.prefix, weights.position, embedded)?;
        if let Some(norm) = &weights.pre_norm {
            kernels::layernorm(recording, "pre_norm".to_owned(), embedded, norm.pair(), stream, config.epsilon)?;
        }
        self.save("embeddings", stream);
        Ok(())
    }

    /// One pre-norm encoder block (Dosovitskiy et al. 2021, equations 2 and 3).
    fn block(&mut self, i: usize, weights: &Block<Buf>) -> Result<()> {
        let wants_attention = self.wants(&format!("attn.{i}"));
        let (config, recording) = (self.config, &mut self.recording);
        let Scratch { stream, normed, qkv, attended, hidden } = self.scratch;
        let label = |step: &str| format!("block{i}.{step}");
        let residual = |scale: Option<Buf>| scale.map_or(Epilogue::Residual, Epilogue::ScaledResidual);

        kernels::layernorm(recording, label("norm1"), stream, weights.norm1.pair(), normed, config.epsilon)?;
        kernels::matmul(recording, label("qkv"), normed, weights.qkv.pair(), Epilogue::Bias, qkv)?;
        if wants_attention {
            let (shape, scratch) = ([self.batch, config.heads, config.tokens(), config.tokens()], &mut self.probabilities);
            let p = *match scratch {
                Some(p) => p,
                None => scratch.insert(recording.scratch("attention probabilities", &shape)?),
            };
            kernels::attention_naive_probabilities(recording, label("probabilities"), qkv, p)?;
            recording.save(format!("attn.{i}"), p);
        }
        kernels::attention(recording, label("attention"), qkv, config.heads, attended)?;
        kernels::matmul(recording, label("projection"), attended, weights.projection.pair(), residual(weights.scale1), stream)?;
        kernels::layernorm(recording, label("norm2"), stream, weights.norm2.pair(), normed, config.epsilon)?;
        kernels::matmul(recording, label("mlp1"), normed, weights.mlp1.pair(), Epilogue::Activation(config.activation), hidden)?;
        kernels::matmul(recording, label("mlp2"), hidden, weights.mlp2.pair(), residual(weights.scale2), stream)?;
        self.save(&format!("hidden.{i}"), stream);
        Ok(())
    }

    /// From the last block's tokens to class probabilities (Dosovitskiy et al. 2021, equation 4).
    fn head(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let config = self.config;
        let Scratch { stream, normed, .. } = self.scratch;
        let tokens = match &weights.norm {
            None => stream,
            Some(norm) => {
                kernels::layernorm(&mut self.recording, "norm".to_owned(), stream, norm.pair(), normed, config.epsilon)?;
                normed
            }
        };
        self.save("tokens", tokens);

        let pooled_range = match config.pooling {
            Pooling::First => 0..1,
            Pooling::MeanFrom(first) => first..config.tokens(),
        };
        let mut features = self.recording.scratch("pooled", &[self.batch, config.width])?;
        kernels::pool(&mut self.recording, "pool".to_owned(), tokens, pooled_range, features)?;
        if let Some(norm) = &weights.pool_norm {
            let pooled = std::mem::replace(&mut features, self.recording.scratch("pool_norm", &[self.batch, config.width])?);
            kernels::layernorm(&mut self.recording, "pool_norm".to_owned(), pooled, norm.pair(), features, config.epsilon)?;
        }
        if let (Some(dense), Some(pooler)) = (&weights.pooler, config.pooler) {
            let pooled = std::mem::replace(&mut features, self.recording.scratch("pooler", &[self.batch, pooler.width])?);
            kernels::matmul(&mut self.recording, "pooler".to_owned(), pooled, dense.pair(), Epilogue::Activation(pooler.activation), features)?;
        }
        self.save("features", features);

        let Some(head) = &weights.head else { return Ok(()) };
        let logits = self.recording.scratch("logits", &[self.batch, config.classes])?;
        kernels::matmul(&mut self.recording, "head".to_owned(), features, head.pair(), Epilogue::Bias, logits)?;
        self.save("logits", logits);
        if self.wants("probabilities") {
            let probabilities = self.recording.scratch("probabilities", &[self.batch, config.classes])?;
            kernels::softmax(&mut self.recording, "softmax".to_owned(), logits, probabilities)?;
            self.save("probabilities", probabilities);
        }
        Ok(())
    }
}
