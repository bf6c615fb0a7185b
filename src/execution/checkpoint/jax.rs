//! Google's original checkpoints: npz files written by JAX, without a configuration. Everything follows from the names
//! and shapes of the arrays.
//!
//! Source: google-research/vision_transformer's `models_vit.py`, and timm's `_load_weights`, whose results are
//! reproduced: GELU uses the error function, where flax defaults to the tanh approximation.

use super::backbone::Naming;
use super::files::Files;
use super::json::Object;
use super::position::Resampling;
use super::source::{Part, PositionSource, Source, StoredGrid};
use super::weights::{AttentionPool, Block, Linear, Norm, PoolMlp, Weights};
use super::{DEEPEST, Outline, TextSources, timm};
use crate::data::config::{Activation, BACKBONE_GROUPS, Classifier, Config, Edge, Input, Layout, Patches, Pooler, Pooling, Probabilities, Reads};
use crate::data::error::{Error, Result};
use crate::execution::image::Preprocess;
use serde_json::json;
use std::path::Path;

/// Naming scheme of a file's arrays. Two code bases wrote such files: vision_transformer, and its successor big_vision (SigLIP,
/// FlexiViT), which numbers modules differently and may stack all blocks in one array.
struct Dialect {
    /// Prefix of all names.
    prefix: &'static str,
    /// Name of the position table.
    position: String,
    /// Module numbers of a block's attention, MLP and second norm.
    numbers: [usize; 3],
    /// Whether blocks are stacked along an additional first axis.
    stacked: bool,
}

/// Possible prefixes: the second if the optimiser state was saved too, the last if there is a text tower.
const PREFIXES: [&str; 4] = ["", "opt/target/", "params/", "params/img/"];

/// Name prefixes of a model's arrays, after the file's prefix. An unused array with one of them belongs to another model.
const OWN: &[&str] = &["MAPHead_0/", "Transformer/", "block", "cls", "conv_root/", "embedding/", "gn_root/", "head/", "pos_embedding", "pre_logits/"];

impl Dialect {
    fn of(files: &Files) -> Option<Dialect> {
        let prefix = PREFIXES.into_iter().find(|prefix| files.has(&format!("{prefix}embedding/kernel")))?;
        let name = |part: &str| format!("{prefix}{part}");
        let stacked = files.has(&name("Transformer/encoderblock/LayerNorm_0/scale"));
        let is_big_vision = stacked || files.has(&name("pos_embedding"));
        let position = name(if is_big_vision { "pos_embedding" } else { "Transformer/posembed_input/pos_embedding" });
        Some(Dialect { prefix, position, numbers: if is_big_vision { [0, 0, 1] } else { [1, 3, 2] }, stacked })
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// Returns the number of blocks implied by the highest block number. A missing block is detected when it is requested.
    fn depth(&self, files: &Files) -> usize {
        let start = self.name("Transformer/encoderblock_");
        let number = |name: &str| name.strip_prefix(&start)?.split('/').next()?.parse::<usize>().ok();
        files.names().filter_map(number).max().map_or(0, |last| last.saturating_add(1))
    }

    /// Returns the name prefix of a block's arrays.
    fn block(&self, i: usize) -> String {
        if self.stacked { self.name("Transformer/encoderblock/") } else { self.name(&format!("Transformer/encoderblock_{i}/")) }
    }
}

/// Interprets the arrays of a file.
pub fn read(path: &Path, files: &Files) -> Result<Outline> {
    let Some(dialect) = Dialect::of(files) else {
        return Err(Error::unsupported(
            path,
            "found no array embedding/kernel; expected a Vision Transformer from google-research/vision_transformer or big_vision",
        ));
    };
    let name = |part: &str| dialect.name(part);
    let [attention, mlp, _] = dialect.numbers;
    let &[patch_height, patch_width, _, width] = files.sizes(&name("embedding/kernel"))?;
    let bias = format!("{}MultiHeadDotProductAttention_{attention}/query/bias", dialect.block(0));
    let dense = format!("{}MlpBlock_{mlp}/Dense_0/bias", dialect.block(0));
    let (depth, heads, mlp_width) = if dialect.stacked {
        let (&[depth, heads, _], &[_, mlp_width]) = (files.sizes(&bias)?, files.sizes(&dense)?);
        (depth, heads, mlp_width)
    } else {
        let (&[heads, _], &[mlp_width]) = (files.sizes(&bias)?, files.sizes(&dense)?);
        (dialect.depth(files), heads, mlp_width)
    };
    // A small file can claim any depth.
    if depth > DEEPEST {
        return Err(Error::file(path, format!("found {depth} blocks; at most {DEEPEST} are supported")));
    }
    let prefix_tokens = usize::from(files.has(&name("cls")));
    let backbone = match files.has(&name("conv_root/kernel")) {
        true => Some(Naming::Jax { prefix: dialect.prefix }.sizes(files, BACKBONE_GROUPS)?),
        false => None,
    };
    let channels_of = if backbone.is_some() { name("conv_root/kernel") } else { name("embedding/kernel") };
    let &[_, _, channels, _] = files.sizes(&channels_of)?;
    let &[_, rows, _] = files.sizes(&dialect.position)?;
    let side = rows.isqrt();
    // A square number of rows has none for the class token.
    let positioned = if side * side == rows { 0 } else { prefix_tokens };
    let side = (rows - positioned).isqrt();
    // Input pixels along each side of a feature map pixel.
    let stride = backbone.as_ref().map_or(1, |backbone| 2 << backbone.stages.len().max(1));
    let mut classifiers = Vec::new();
    let pre_logits = match files.has(&name("pre_logits/kernel")) {
        true => {
            let &[_, width] = files.sizes(&name("pre_logits/kernel"))?;
            Some(Pooler { width, activation: Activation::Tanh })
        }
        false => None,
    };
    if files.has(&name("head/kernel")) {
        let &[read, classes] = files.sizes(&name("head/kernel"))?;
        let classifier = |name: &str, reads| Classifier {
            name: name.to_owned(),
            reads,
            classes,
            labels: super::labels(None, classes),
            probabilities: Probabilities::Softmax,
        };
        // timm drops pre_logits, flax does not: `logits` is timm's result, `logits_jax` is flax's.
        classifiers.extend((read == width).then(|| classifier("", Reads::Features)));
        classifiers.extend(pre_logits.map(|_| classifier("jax", Reads::PreLogits)));
    }
    let image = [side * patch_height * stride, side * patch_width * stride];
    let input = Input::Image(Patches { backbone, ..Patches::new(channels, image, [patch_height, patch_width], Edge::Ignore) });
    let config = Config {
        width,
        depth,
        heads,
        pool_heads: heads,
        mlp_width,
        prefix_tokens,
        class_token: prefix_tokens > 0,
        pooling: Some(match () {
            () if files.has(&name("MAPHead_0/probe")) => Pooling::Attention(0),
            () if prefix_tokens > 0 => Pooling::First,
            () => Pooling::MeanFrom(0),
        }),
        pre_logits,
        classifiers,
        ..Config::plain(&path.file_stem().unwrap_or_default().to_string_lossy(), Layout::Jax, input)
    };
    config.validate(path)?;
    let positions = PositionSource {
        name: dialect.position.clone(),
        prefix: positioned,
        width,
        grid: [side; 2],
        stored: StoredGrid::Square,
        resampling: Resampling::Bilinear,
        built: None,
    };
    let own = OWN.iter().map(|own| dialect.name(own)).collect();
    Ok(Outline { weights: weights(&config, &dialect, positioned), positions: Some(positions).into(), config, text: TextSources::default(), own })
}

/// timm's preprocessing for these models. Released models of 384 pixels are not cropped.
pub fn preprocess(path: &Path, config: &Config, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let patches = config.patches().expect("Google's models take images");
    let [height, width] = patches.image;
    let crop = if height < 384 { 0.9 } else { 1.0 };
    let fields = json!({
        "input_size": [patches.channels, height, width],
        "crop_pct": crop,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    });
    timm::preprocess(&Object::parse(path, fields.to_string().as_bytes())?, image)
}

/// Maps weights to flax's array names. Kernels are stored `[in, out]`.
fn weights(config: &Config, dialect: &Dialect, positioned: usize) -> Weights<Source> {
    let (width, heads, head) = (config.width, config.heads, config.head_width());
    let patches = config.patches().expect("Google's models take images");
    let name = |part: &str| dialect.name(part);
    let alone = |part: Part| part;
    let tower = Layers { width, heads, head };
    let block = |i: usize| {
        let place = |part: Part| if dialect.stacked { part.in_stack(i, config.depth) } else { part };
        let [attention, mlp, norm2] = dialect.numbers.map(|number| number.to_string());
        let of = |part: &str, number: &str| format!("{}{part}_{number}", dialect.block(i));
        let attention = of("MultiHeadDotProductAttention", &attention);
        let mlp = of("MlpBlock", &mlp);
        Block {
            norm1: tower.norm(&of("LayerNorm", "0"), place),
            qkv: tower.projections(&attention, &["query", "key", "value"], place),
            qk_norm: None,
            attention_norm: None,
            projection: tower.output(&attention, place),
            scale1: None,
            norm2: Some(tower.norm(&of("LayerNorm", &norm2), place)),
            mlp1: tower.dense(&format!("{mlp}/Dense_0"), [config.mlp_width, width], place),
            mlp_norm: None,
            mlp2: tower.dense(&format!("{mlp}/Dense_1"), [width, config.mlp_width], place),
            scale2: None,
        }
    };
    let pool = || {
        let attention = name("MAPHead_0/MultiHeadDotProductAttention_0");
        AttentionPool {
            latent: Source::stored(name("MAPHead_0/probe"), &[1, width]),
            query: Some(tower.projections(&attention, &["query"], alone)),
            key_value: tower.projections(&attention, &["key", "value"], alone),
            projection: tower.output(&attention, alone),
            mlp: Some(PoolMlp {
                norm: tower.norm(&name("MAPHead_0/LayerNorm_0"), alone),
                linear1: tower.dense(&name("MAPHead_0/MlpBlock_0/Dense_0"), [config.mlp_width, width], alone),
                linear2: tower.dense(&name("MAPHead_0/MlpBlock_0/Dense_1"), [width, config.mlp_width], alone),
            }),
        }
    };
    let stored = [patches.size[0], patches.size[1], patches.map_channels(), width];
    let head = |classifier: &Classifier| tower.dense(&name("head"), [classifier.classes, config.read_width(classifier.reads)], alone);
    let tokens = if config.prefix_tokens > 0 { vec![Part::new(name("cls"), &[1, width])] } else { Vec::new() };
    Weights {
        backbone: patches.backbone.as_ref().map(|backbone| Naming::Jax { prefix: dialect.prefix }.weights(backbone, patches.channels)),
        patch: Some(Linear {
            weight: Source::of(vec![Part::permuted(name("embedding/kernel"), &stored, &[3, 2, 0, 1])], &[width, patches.values()]),
            bias: Source::stored(name("embedding/bias"), &[width]),
        }),
        prefix: Source::prefix(tokens, &dialect.position, positioned, [config.prefix_tokens, width]),
        norm: Some(tower.norm(&name("Transformer/encoder_norm"), alone)),
        attention_pool: matches!(config.pooling, Some(Pooling::Attention(_))).then(pool),
        pre_logits: config.pre_logits.map(|layer| tower.dense(&name("pre_logits"), [layer.width, width], alone)),
        heads: config.classifiers.iter().map(head).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}

/// flax layers of one width. In the methods, `place` locates a part within a stacked array.
struct Layers {
    width: usize,
    heads: usize,
    head: usize,
}

impl Layers {
    fn norm(&self, name: &str, place: impl Fn(Part) -> Part) -> Norm<Source> {
        let stored = |part: &str| Source::of(vec![place(Part::new(format!("{name}/{part}"), &[self.width]))], &[self.width]);
        Norm { weight: stored("scale"), bias: Some(stored("bias")) }
    }

    fn dense(&self, name: &str, [out, input]: [usize; 2], place: impl Fn(Part) -> Part) -> Linear<Source> {
        Linear {
            weight: Source::of(vec![place(Part::permuted(format!("{name}/kernel"), &[input, out], &[1, 0]))], &[out, input]),
            bias: Source::of(vec![place(Part::new(format!("{name}/bias"), &[out]))], &[out]),
        }
    }

    /// Projections to all heads, `[C, H, D]` each, concatenated.
    fn projections(&self, attention: &str, which: &[&str], place: impl Fn(Part) -> Part) -> Linear<Source> {
        let kernel = |which: &&str| place(Part::permuted(format!("{attention}/{which}/kernel"), &[self.width, self.heads, self.head], &[1, 2, 0]));
        let bias = |which: &&str| place(Part::new(format!("{attention}/{which}/bias"), &[self.heads, self.head]));
        let rows = which.len() * self.width;
        Linear {
            weight: Source::of(which.iter().map(kernel).collect(), &[rows, self.width]),
            bias: Source::of(which.iter().map(bias).collect(), &[rows]),
        }
    }

    /// Projection from all heads, `[H, D, C]`.
    fn output(&self, attention: &str, place: impl Fn(Part) -> Part) -> Linear<Source> {
        let kernel = Part::permuted(format!("{attention}/out/kernel"), &[self.heads, self.head, self.width], &[2, 0, 1]);
        Linear {
            weight: Source::of(vec![place(kernel)], &[self.width, self.width]),
            bias: Source::of(vec![place(Part::new(format!("{attention}/out/bias"), &[self.width]))], &[self.width]),
        }
    }
}
