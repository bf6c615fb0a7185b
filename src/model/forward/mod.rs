//! The encoder as a recording of kernel calls.

mod backbone;
mod dense;
mod head;
mod maps;
mod tables;

pub use tables::Tables;

use crate::data::capabilities::Precision;
use crate::data::config::{Config, Input, NormOrder, Patches, Pooling, Reads, Size};
use crate::data::error::{Error, Result};
use crate::data::levels;
use crate::data::record::{Buf, Recording};
use crate::execution::checkpoint::{Block, Linear, WeightInfo, Weights};
use crate::operations::kernels::{self, Epilogue};

/// Parameters of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// B, the number of images or sequences.
    pub batch: usize,
    /// Size of each image or sequence.
    pub size: Size,
    /// Whether a second input `[B, N]` masks out key tokens.
    pub masked: bool,
    /// Whether images are 8-bit levels, with a second input `[channels, 256]` that maps levels to values.
    pub levels: bool,
    /// Requested outputs, from [`output_names`].
    pub wanted: Vec<String>,
}

/// Names of all outputs of a forward pass, in order of computation.
///
/// - `backbone.i` `[B, channels, h, w]`: the map after stage i of a hybrid's backbone, and `backbone`, the one that is cut into patches
/// - `embeddings` `[B, N, C]`: the input of block 0
/// - `attn.i` `[B, H, N, N]`: the attention probabilities of block i
/// - `hidden.i` `[B, N, C]`: the residual stream after block i
/// - `tokens` `[B, N, C]`: the output of the final norm, or of the last block if there is none
/// - `features` `[B, features]`: the pooled vector
/// - `image_embeds`, `image_embeds_l2` `[B, projection]`: CLIP's projection, and the same L2-normalised
/// - `pre_logits_jax` `[B, width]`: the output of the pre-training head's first layer
/// - `logits`, `logits_NAME` `[B, classes]`: the logits of each classifier; for a distilled model also their mean
/// - `probabilities`, `probabilities_NAME` `[B, classes]`: the softmax of the logits
/// - `reassembled.i`, `neck_conv.i`, `fused.i` `[B, channels, h, w]`: the maps of a dense head: feature i, the same after the neck's convolution, and the fused
///   map i, the deepest first
/// - `predicted_depth` `[B, h, w]` or `logits` `[B, classes, h, w]`: the result of a dense head
///
/// For images, these may also be requested, although they are not listed ([`Config::map`]):
///
/// - `attn.i.q` `[B, H, 1, N]`: row q of `attn.i`, computed without the others; token 0 is the class token, if there is one
/// - `rollout` `[B, N, N]`: attention rollout through all blocks (Abnar and Zuidema 2020), and `rollout.q` `[B, N]`, its row q
/// - `pca` `[B, P, 3]`: the first three principal components of each image's patches in `tokens`, as colours from 0 to 1
///
/// A model that takes embeddings has only `hidden.i` and `output`, both `[B, N, C]`.
pub fn output_names(config: &Config) -> Vec<String> {
    let Input::Image(patches) = &config.input else {
        return (0..config.depth).map(|i| format!("hidden.{i}")).chain(["output".to_owned()]).collect();
    };
    let mut names = Vec::new();
    let stages = patches.backbone.as_ref().map_or(0, |backbone| backbone.stages.len());
    names.extend((0..stages).map(|stage| format!("backbone.{stage}")));
    names.extend(patches.backbone.is_some().then(|| "backbone".to_owned()));
    names.push("embeddings".to_owned());
    for i in 0..config.depth {
        names.extend([format!("attn.{i}"), format!("hidden.{i}")]);
    }
    names.push("tokens".to_owned());
    names.extend(config.pooling.map(|_| "features".to_owned()));
    names.extend(config.projection.into_iter().flat_map(|_| ["image_embeds", "image_embeds_l2"].map(str::to_owned)));
    names.extend(config.pre_logits.map(|_| "pre_logits_jax".to_owned()));
    let mean = config.is_distilled().then(String::new);
    for suffix in config.classifiers.iter().map(|classifier| classifier.suffix()).chain(mean) {
        names.extend([format!("logits{suffix}"), format!("probabilities{suffix}")]);
    }
    names.extend(config.dense.iter().flat_map(dense::output_names));
    names
}

/// Records a forward pass into an empty recording.
///
/// # Errors
/// - [`Error::Argument`] if an output is unknown or the size is not supported.
/// - [`Error::Limit`] if the batch does not fit the device.
pub fn record(config: &Config, weights: &Weights<WeightInfo>, tables: &Tables, request: &Request, mut recording: Recording) -> Result<Recording> {
    let known = output_names(config);
    if let Some(unknown) = request.wanted.iter().find(|name| !known.contains(name) && config.map(request.size, name).is_none()) {
        return Err(Error::argument("outputs", format!("unknown output {unknown:?}; this model has {}", summary(config, &known))));
    }
    let tokens = config.tokens(request.size)?;
    let factors = weights.factors(recording.precision(), recording.capabilities());
    let weights = weights.clone().try_map_all(|weight| match (weight.shape.as_slice(), factors.get(&weight.name)) {
        (&[n, k], Some(precision)) => recording.factor(weight.name, [n, k], *precision),
        (shape, _) => recording.weight(weight.name, shape),
    })?;
    let tables = tables.record(&mut recording)?;
    let scratch = Scratch::new(&mut recording, config, request.batch, tokens)?;
    let qkv = recording.scratch_in("qkv", &[request.batch, tokens, 3 * config.width], activations(&recording, config))?;
    let rows = rows_read(config, request, tokens);
    let maps = dense::Maps::new(config, request.size, &request.wanted);
    let (mask, probabilities, rollout) = (None, Vec::new(), None);
    let mut forward = Forward { recording, config, scratch, qkv, tables, request, tokens, rows, mask, probabilities, rollout, maps };
    forward.input(&weights)?;
    forward.token_features(&weights, 0)?;
    for (i, block) in weights.blocks.iter().enumerate() {
        forward.block(i, block)?;
        forward.token_features(&weights, i + 1)?;
    }
    forward.head(&weights)?;
    forward.dense_head(&weights)?;
    Ok(forward.recording)
}

/// Returns the number of leading tokens that are read after the last block. If the head reads only the class token and no other token is requested,
/// the rest skip the last block's MLP.
fn rows_read(config: &Config, request: &Request, tokens: usize) -> usize {
    let pooled = match config.pooling {
        Some(Pooling::First) => 1,
        Some(Pooling::MeanOfTwo) => 2,
        Some(Pooling::MeanFrom(_) | Pooling::FirstAndMeanFrom(_) | Pooling::Attention(_)) | None => tokens,
    };
    let classified = config.classifiers.iter().map(|classifier| match classifier.reads {
        Reads::Token(token) => token + 1,
        Reads::Features | Reads::PreLogits => 1,
    });
    let whole = ["tokens".to_owned(), "output".to_owned(), "pca".to_owned(), format!("hidden.{}", config.depth - 1)];
    match config.norm_order {
        NormOrder::Pre if !whole.iter().any(|name| request.wanted.contains(name)) => classified.fold(pooled, usize::max).min(tokens),
        _ => tokens,
    }
}

/// Summarises the output names, with per-block outputs as ranges.
fn summary(config: &Config, known: &[String]) -> String {
    let last = config.depth - 1;
    let ranges = ["attn.", "hidden."].iter().filter(|of| known.contains(&format!("{of}0"))).map(|of| format!("{of}0 to {of}{last}"));
    let maps = config.patches().map(|_| format!("attn.{last}.q and rollout.q for token q, rollout, pca"));
    let others = known.iter().filter(|name| !name.starts_with("attn.") && !name.starts_with("hidden.")).cloned();
    others.chain(ranges).chain(maps).collect::<Vec<_>>().join(", ")
}

/// Precision of the buffers inside a block, except the residual stream. With post-norm, the norms write the stream, so everything is f32.
fn activations(recording: &Recording, config: &Config) -> Precision {
    match config.norm_order {
        NormOrder::Pre => recording.activations(),
        NormOrder::Post => Precision::F32,
    }
}

/// Scratch buffers reused by all blocks. N shrinks to [`Forward::rows`] at the attention of the last block.
struct Scratch {
    /// Residual stream, `[B, N, C]`.
    stream: Buf,
    /// Output of a norm, `[B, N, C]`.
    normed: Buf,
    /// Output of attention, `[B, N, C]`.
    attended: Buf,
    /// Gate and values of the MLP, `[B, N, 2·F]`, if it is gated.
    gated: Option<Buf>,
    /// Hidden layer of the MLP, `[B, N, F]`.
    hidden: Buf,
}

impl Scratch {
    fn new(recording: &mut Recording, config: &Config, batch: usize, count: usize) -> Result<Scratch> {
        let activations = activations(recording, config);
        let mut tokens = |label: &str, width, precision| recording.scratch_in(label, &[batch, count, width], precision);
        Ok(Scratch {
            stream: tokens("stream", config.width, Precision::F32)?,
            normed: tokens("normed", config.width, activations)?,
            attended: tokens("attended", config.width, activations)?,
            gated: config.gated.then(|| tokens("gated", config.mlp_outputs(), activations)).transpose()?,
            hidden: tokens("hidden", config.mlp_width, activations)?,
        })
    }
}

/// State while a forward pass is being recorded.
struct Forward<'a> {
    recording: Recording,
    config: &'a Config,
    scratch: Scratch,
    /// Packed queries, keys and values, `[B, N, 3·C]`.
    qkv: Buf,
    tables: tables::Recorded,
    request: &'a Request,
    /// N.
    tokens: usize,
    /// Number of tokens read after the last block; see [`rows_read`].
    rows: usize,
    /// Key padding mask, `[B, N]`.
    mask: Option<Buf>,
    /// Attention probabilities, `[B, H, Q, N]` for each requested Q; shared by all blocks.
    probabilities: Vec<Buf>,
    /// Rollout state, if requested.
    rollout: Option<maps::Rollout>,
    /// State of the dense head, if its outputs are requested.
    maps: Option<dense::Maps>,
}

impl Forward<'_> {
    fn wants(&self, name: &str) -> bool {
        self.request.wanted.iter().any(|wanted| wanted == name)
    }

    fn save(&mut self, name: &str, from: Buf) {
        if self.wants(name) {
            assert_eq!(self.recording.precision_of(from), Precision::F32, "{name}: hosts read outputs in f32");
            self.recording.save(name, from);
        }
    }

    /// Records everything from the input to the tokens of block 0.
    fn input(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let batch = self.request.batch;
        match (&self.config.input, self.request.size, &weights.patch) {
            (Input::Image(patches), Size::Image(image), Some(projection)) => self.embeddings(patches, projection, weights, image),
            (..) => {
                let input = self.recording.input("input", &[batch, self.tokens, self.config.width])?;
                if self.request.masked {
                    self.mask = Some(self.recording.input("key_padding_mask", &[batch, self.tokens])?);
                }
                kernels::embed(&mut self.recording, "embed".to_owned(), input, None, None, self.scratch.stream)
            }
        }
    }

    /// Records the input images `[B, channels, height, width]`.
    fn pixels(&mut self, shape: [usize; 4]) -> Result<Buf> {
        let recording = &mut self.recording;
        if !self.request.levels {
            return recording.input("pixel_values", &shape);
        }
        let [batch, channels, height, width] = shape;
        let words = (channels * height * width).div_ceil(levels::WORD);
        let packed = recording.input_in("levels", &[batch, words], Precision::Int8)?;
        let values = recording.input("values of levels", &[channels, levels::LEVELS])?;
        let pixels = recording.scratch("pixel_values", &shape)?;
        kernels::normalise(recording, "normalise".to_owned(), packed, values, pixels)?;
        Ok(pixels)
    }

    /// Records patch embedding, prefix tokens and positions (Dosovitskiy et al. 2021, equation 1).
    fn embeddings(&mut self, patches: &Patches, projection: &Linear<Buf>, weights: &Weights<Buf>, image: [usize; 2]) -> Result<()> {
        let pixels = self.pixels([self.request.batch, patches.channels, image[0], image[1]])?;
        let map = match (&weights.backbone, &patches.backbone) {
            (Some(layers), Some(backbone)) => {
                let (stem, stages) = backbone::record(&mut self.recording, layers, backbone.groups, pixels)?;
                stages.iter().enumerate().for_each(|(stage, map)| self.save(&format!("backbone.{stage}"), *map));
                self.stage_features(weights, &stages)?;
                let map = stages.last().copied().unwrap_or(stem);
                self.save("backbone", map);
                map
            }
            _ => pixels,
        };
        let (config, recording) = (self.config, &mut self.recording);
        let Scratch { stream, normed, .. } = self.scratch;
        let grid = patches.grid(image);
        let projected = recording.scratch("patches", &[self.request.batch, grid[0] * grid[1], config.width])?;
        kernels::patchify(recording, "patchify".to_owned(), map, projection.pair(), patches.size, grid, projected)?;
        let embedded = if config.pre_norm { wide(recording, "embedded", normed)? } else { stream };
        kernels::embed(recording, "embed".to_owned(), projected, weights.prefix, self.tables.position, embedded)?;
        if let Some(norm) = &weights.pre_norm {
            kernels::layernorm(recording, "pre_norm".to_owned(), embedded, norm.pair(), stream, config.epsilon)?;
        }
        self.save("embeddings", stream);
        Ok(())
    }

    /// Records one encoder block on the residual stream: pre-norm (Dosovitskiy et al. 2021, equations 2 and 3) or post-norm (Vaswani et al. 2017,
    /// section 3.1).
    fn block(&mut self, i: usize, weights: &Block<Buf>) -> Result<()> {
        let label = |step: &str| format!("block{i}.{step}");
        let Scratch { stream, normed, .. } = self.scratch;
        let epsilon = self.config.epsilon;
        match self.config.norm_order {
            NormOrder::Pre => {
                kernels::layernorm(&mut self.recording, label("norm1"), stream, weights.norm1.pair(), normed, epsilon)?;
                self.attention(i, weights, normed)?;
                let Scratch { stream, normed, .. } = self.scratch;
                kernels::layernorm(&mut self.recording, label("norm2"), stream, weights.norm2.pair(), normed, epsilon)?;
                self.mlp(i, weights, normed, stream)?;
            }
            NormOrder::Post => {
                self.attention(i, weights, stream)?;
                kernels::layernorm(&mut self.recording, label("norm1"), stream, weights.norm1.pair(), normed, epsilon)?;
                self.mlp(i, weights, normed, normed)?;
                kernels::layernorm(&mut self.recording, label("norm2"), normed, weights.norm2.pair(), stream, epsilon)?;
            }
        }
        self.save(&format!("hidden.{i}"), stream);
        Ok(())
    }

    /// Copies the first `rows` tokens to a smaller stream and shrinks the other scratch buffers to match.
    fn narrow(&mut self) -> Result<()> {
        let (config, all) = (self.config, self.scratch.stream);
        self.scratch = Scratch::new(&mut self.recording, config, self.request.batch, self.rows)?;
        for row in 0..self.rows {
            kernels::pool(&mut self.recording, format!("token{row}"), all, row..row + 1, self.scratch.stream, row * config.width)?;
        }
        Ok(())
    }

    /// Adds the attention of `from` to the stream.
    fn attention(&mut self, i: usize, weights: &Block<Buf>, from: Buf) -> Result<()> {
        let label = |step: &str| format!("block{i}.{step}");
        let (config, recording) = (self.config, &mut self.recording);
        let qkv = self.qkv;
        kernels::matmul(recording, label("qkv"), from, weights.qkv.pair(), Epilogue::Bias, qkv)?;
        if let Some(norm) = &weights.qk_norm {
            kernels::qk_norm(recording, label("qk_norm"), qkv, norm.query.pair(), norm.key.pair(), config.heads, config.epsilon)?;
        }
        if let Some(angles) = self.tables.rotary {
            kernels::rotary(recording, label("rotary"), qkv, angles, config.heads)?;
        }
        self.attention_maps(i)?;
        if i + 1 == config.depth && self.rows < self.tokens {
            self.narrow()?;
        }
        let Scratch { attended, stream, .. } = self.scratch;
        kernels::attention(&mut self.recording, label("attention"), qkv, config.heads, self.mask, attended)?;
        kernels::matmul(&mut self.recording, label("projection"), attended, weights.projection.pair(), residual(weights.scale1), stream)
    }

    /// Adds the MLP of `from` to `onto`.
    fn mlp(&mut self, i: usize, weights: &Block<Buf>, from: Buf, onto: Buf) -> Result<()> {
        let label = |step: &str| format!("block{i}.{step}");
        let (activation, recording) = (self.config.activation, &mut self.recording);
        let Scratch { gated, hidden, .. } = self.scratch;
        match gated {
            None => kernels::matmul(recording, label("mlp1"), from, weights.mlp1.pair(), Epilogue::Activation(activation), hidden)?,
            Some(gated) => {
                kernels::matmul(recording, label("mlp1"), from, weights.mlp1.pair(), Epilogue::Bias, gated)?;
                kernels::gate(recording, label("gate"), gated, activation, hidden)?;
            }
        }
        kernels::matmul(recording, label("mlp2"), hidden, weights.mlp2.pair(), residual(weights.scale2), onto)
    }
}

/// Returns `buf` itself if it is f32, else a new f32 buffer of the same shape. Used for tensors outside of blocks.
fn wide(recording: &mut Recording, label: &str, buf: Buf) -> Result<Buf> {
    if recording.precision_of(buf) == Precision::F32 {
        return Ok(buf);
    }
    let shape = recording.shape(buf).to_vec();
    recording.scratch(label, &shape)
}

fn residual(scale: Option<Buf>) -> Epilogue {
    scale.map_or(Epilogue::Residual, Epilogue::ScaledResidual)
}
