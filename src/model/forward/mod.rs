//! The encoder as a recording of kernel calls.

mod backbone;
mod block;
mod dense;
mod head;
mod maps;
mod tables;

pub use tables::Tables;

use crate::data::capabilities::Precision;
use crate::data::config::{Activation, Branches, Config, Input, NormOrder, Patches, Pooling, Probabilities, Reads, Size};
use crate::data::error::{Error, Result};
use crate::data::levels;
use crate::data::record::{Buf, Recording};
use crate::execution::checkpoint::{Linear, Norm, WeightInfo, Weights};
use crate::operations::kernels::{self, Epilogue, Mask};

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
/// - `attn.i` `[B, H, N, N]`: the attention probabilities of block i, unless its attentions come in pairs
/// - `hidden.i` `[B, N, C]`: the residual stream after block i
/// - `tokens` `[B, N, C]`: the output of the final norm, or of the last block if there is none
/// - `features` `[B, features]`: the pooled vector
/// - `image_embeds`, `image_embeds_l2` `[B, projection]`: the vector that can be compared with those of texts, and the same L2-normalised
/// - `pre_logits_jax` `[B, width]`: the output of the pre-training head's first layer
/// - `logits`, `logits_NAME` `[B, classes]`: the logits of each classifier; for a distilled model also their mean
/// - `probabilities`, `probabilities_NAME` `[B, classes]`: the softmax of the logits, or as [`Probabilities`] says
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
/// A model that takes embeddings has only `hidden.i` and `output`, both `[B, N, C]`. One that takes texts has `text.embeddings`, `text.attn.i`,
/// `text.hidden.i`, `text.tokens`, `text.pooled`, `text_embeds` and `text_embeds_l2`, which mean the same for texts.
pub fn output_names(config: &Config) -> Vec<String> {
    steps(config).iter().map(|step| name(config, step)).collect()
}

/// Returns the name of the output of a step.
fn name(config: &Config, step: &str) -> String {
    match step {
        step if !config.is_text() => step.to_owned(),
        "features" => "text.pooled".to_owned(),
        "image_embeds" => "text_embeds".to_owned(),
        "image_embeds_l2" => "text_embeds_l2".to_owned(),
        step => format!("text.{step}"),
    }
}

/// Names the steps with outputs, in order of computation. For texts, outputs have names of their own.
fn steps(config: &Config) -> Vec<String> {
    if let Input::Embeddings { .. } = config.input {
        return (0..config.depth).map(|i| format!("hidden.{i}")).chain(["output".to_owned()]).collect();
    }
    let mut names = Vec::new();
    let backbone = config.patches().and_then(|patches| patches.backbone.as_ref());
    names.extend((0..backbone.map_or(0, |backbone| backbone.stages.len())).map(|stage| format!("backbone.{stage}")));
    names.extend(backbone.map(|_| "backbone".to_owned()));
    names.push("embeddings".to_owned());
    for i in 0..config.depth {
        names.extend((config.branches != Branches::Pairs).then(|| format!("attn.{i}")));
        names.push(format!("hidden.{i}"));
    }
    names.push("tokens".to_owned());
    names.extend(config.pooling.map(|_| "features".to_owned()));
    if config.projection.is_some() || config.joint {
        names.extend(["image_embeds", "image_embeds_l2"].map(str::to_owned));
    }
    names.extend(config.pre_logits.map(|_| "pre_logits_jax".to_owned()));
    let mean = config.is_distilled().then(|| (String::new(), Probabilities::Softmax));
    for (suffix, probabilities) in config.classifiers.iter().map(|classifier| (classifier.suffix(), classifier.probabilities)).chain(mean) {
        names.push(format!("logits{suffix}"));
        names.extend((probabilities != Probabilities::None).then(|| format!("probabilities{suffix}")));
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
    let wanted_steps = steps(config).into_iter().filter(|step| request.wanted.contains(&name(config, step)));
    // Maps are not listed.
    let maps = request.wanted.iter().filter(|name| !known.contains(name)).cloned();
    let request = &Request { wanted: wanted_steps.chain(maps).collect(), ..request.clone() };
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
    let (mask, ends, probabilities, rollout) = (Mask::None, None, Vec::new(), None);
    let mut forward = Forward { recording, config, scratch, qkv, tables, request, tokens, rows, mask, ends, probabilities, rollout, maps };
    forward.input(&weights)?;
    forward.token_features(&weights, 0)?;
    for (i, block) in weights.blocks.iter().enumerate() {
        forward.block(i, block, weights.beside.get(i))?;
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
        Some(_) | None => tokens,
    };
    let classified = config.classifiers.iter().map(|classifier| match classifier.reads {
        Reads::Token(token) => token + 1,
        Reads::Features | Reads::PreLogits => 1,
    });
    let whole = ["tokens".to_owned(), "output".to_owned(), "pca".to_owned(), format!("hidden.{}", config.depth - 1)];
    match (config.norm_order, config.branches) {
        (NormOrder::Pre, Branches::Sequential) if !whole.iter().any(|name| request.wanted.contains(name)) => {
            classified.fold(pooled, usize::max).min(tokens)
        }
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

/// Precision of the buffers inside a block, except the residual stream. Where the norms write the stream, or what is added to it, everything is f32.
fn activations(recording: &Recording, config: &Config) -> Precision {
    match config.norm_order {
        NormOrder::Pre => recording.activations(),
        NormOrder::Post | NormOrder::ResidualPost => Precision::F32,
    }
}

/// Scratch buffers reused by all blocks. N shrinks to [`Forward::rows`] at the attention of the last block.
struct Scratch {
    /// Residual stream, `[B, N, C]`.
    stream: Buf,
    /// Output of a norm, `[B, N, C]`.
    normed: Buf,
    /// Output of a second norm, `[B, N, C]`, if attentions come in pairs.
    beside: Option<Buf>,
    /// Output of attention, `[B, N, C]`.
    attended: Buf,
    /// The same after its norm, if there is one.
    attended_normed: Option<Buf>,
    /// Gate and values of the MLP, `[B, N, 2·F]`, if it is gated.
    gated: Option<Buf>,
    /// Hidden layer of the MLP, `[B, N, F]`.
    hidden: Buf,
    /// The same after its norm, if there is one.
    hidden_normed: Option<Buf>,
}

impl Scratch {
    fn new(recording: &mut Recording, config: &Config, batch: usize, count: usize) -> Result<Scratch> {
        let activations = activations(recording, config);
        // Norms read f32.
        let before = |norm: bool| if norm { Precision::F32 } else { activations };
        let mut tokens = |label: &str, width, precision| recording.scratch_in(label, &[batch, count, width], precision);
        Ok(Scratch {
            stream: tokens("stream", config.width, Precision::F32)?,
            normed: tokens("normed", config.width, activations)?,
            beside: (config.branches == Branches::Pairs).then(|| tokens("beside", config.width, activations)).transpose()?,
            attended: tokens("attended", config.width, before(config.attention_norm))?,
            attended_normed: config.attention_norm.then(|| tokens("attended_normed", config.width, activations)).transpose()?,
            gated: config.gated.then(|| tokens("gated", config.mlp_outputs(), activations)).transpose()?,
            hidden: tokens("hidden", config.mlp_width, before(config.mlp_norm))?,
            hidden_normed: config.mlp_norm.then(|| tokens("hidden_normed", config.mlp_width, activations)).transpose()?,
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
    /// Mask of all blocks.
    mask: Mask,
    /// Index of the token at the end of each text, `[B]`, if texts are pooled there.
    ends: Option<Buf>,
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
            self.recording.save(crate::model::forward::name(self.config, name), from);
        }
    }

    /// Records everything from the input to the tokens of block 0.
    fn input(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let batch = self.request.batch;
        match (&self.config.input, self.request.size, &weights.patch) {
            (Input::Image(patches), Size::Image(image), Some(projection)) => self.embeddings(patches, projection, weights, image),
            (Input::Image(patches), _, Some(projection)) => self.padded_patches(patches, projection),
            (..) => {
                let input = self.recording.input("input", &[batch, self.tokens, self.config.width])?;
                if let Some(Pooling::EndOfText(_)) = self.config.pooling {
                    self.ends = Some(self.recording.input("ends of texts", &[batch])?);
                }
                let padding = self.request.masked.then(|| self.recording.input("key_padding_mask", &[batch, self.tokens])).transpose()?;
                self.mask = match (padding, self.config.causal) {
                    (None, false) => Mask::None,
                    (None, true) => Mask::Causal,
                    (Some(padding), false) => Mask::Keys(padding),
                    (Some(padding), true) => Mask::CausalKeys(padding),
                };
                kernels::embed(&mut self.recording, "embed".to_owned(), input, None, self.tables.position, self.scratch.stream)?;
                self.save("embeddings", self.scratch.stream);
                Ok(())
            }
        }
    }

    /// Records patches of images with grids of their own: `patches` `[B, N, channels · patch height · patch width]`, `positions` `[B, N, C]`, and a mask
    /// of the padding `[B, N]`.
    fn padded_patches(&mut self, patches: &Patches, projection: &Linear<Buf>) -> Result<()> {
        let (batch, count, stream) = (self.request.batch, self.tokens, self.scratch.stream);
        let recording = &mut self.recording;
        let flat = recording.input("patches", &[batch, count, patches.values()])?;
        let positions = recording.input("positions", &[batch, count, self.config.width])?;
        self.mask = Mask::Keys(recording.input("key_padding_mask", &[batch, count])?);
        kernels::matmul(recording, "patchify".to_owned(), flat, projection.pair(), Epilogue::Bias, stream)?;
        kernels::accumulate(recording, "embed".to_owned(), positions, stream)?;
        self.save("embeddings", stream);
        Ok(())
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
        let rows = [self.request.batch, grid[0] * grid[1]];
        let of_width = |width| [&rows[..], &[width]].concat();
        let mut flat = recording.scratch_in("flat patches", &of_width(patches.values()), recording.activations())?;
        kernels::unfold(recording, "patchify.unfold".to_owned(), map, patches.size, grid, flat)?;
        for (i, layer) in weights.stem.iter().enumerate() {
            let hidden = recording.scratch_in(format!("stem.{i}"), &of_width(patches.stem[i]), recording.activations())?;
            kernels::matmul(recording, format!("stem.{i}"), flat, layer.pair(), Epilogue::Activation(Activation::Gelu), hidden)?;
            flat = hidden;
        }
        let mut projected = recording.scratch("patches", &of_width(config.width))?;
        kernels::matmul(recording, "patchify".to_owned(), flat, projection.pair(), Epilogue::Bias, projected)?;
        if let Some(weights) = &weights.patch_norm {
            let normed = recording.scratch("patch_norm", &of_width(config.width))?;
            norm(recording, "patch_norm", projected, weights, normed, config.epsilon)?;
            projected = normed;
        }
        let embedded = if config.pre_norm { wide(recording, "embedded", normed)? } else { stream };
        kernels::embed(recording, "embed".to_owned(), projected, weights.prefix, self.tables.position, embedded)?;
        if let Some(weights) = &weights.pre_norm {
            norm(recording, "pre_norm", embedded, weights, stream, config.epsilon)?;
        }
        self.save("embeddings", stream);
        Ok(())
    }
}

/// Records LayerNorm, or RMSNorm if the norm has no bias.
fn norm(recording: &mut Recording, label: impl Into<String>, x: Buf, weights: &Norm<Buf>, y: Buf, epsilon: f32) -> Result<()> {
    match weights.bias {
        Some(bias) => kernels::layernorm(recording, label.into(), x, [weights.weight, bias], y, epsilon),
        None => kernels::rmsnorm(recording, label.into(), x, weights.weight, y, epsilon),
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
