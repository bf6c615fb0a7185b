//! Google's original checkpoints: npz files that JAX wrote, without a configuration. Everything follows from
//! the arrays' names and shapes.
//!
//! Source: google-research/vision_transformer's `models_vit.py`, and timm's `_load_weights`, whose numbers
//! these are: GELU with the error function, where flax's default is its approximation with tanh.

use super::backbone::Naming;
use super::files::Files;
use super::json::Object;
use super::position::Resampling;
use super::source::{Part, PositionSource, Source, StoredGrid};
use super::weights::{Block, Linear, Norm, Weights};
use super::{Outline, timm};
use crate::config::{Activation, Classifier, Config, Edge, Input, Layout, NormOrder, Patches, Pooler, Pooling, Preprocess, Reads};
use crate::error::{Error, Result};
use serde_json::json;
use std::path::Path;

/// What the names begin with: nothing, or where the optimiser's state was saved too.
const PREFIXES: [&str; 2] = ["", "opt/target/"];

/// Interprets the arrays of a file.
pub fn read(path: &Path, files: &Files) -> Result<Outline> {
    let Some(prefix) = PREFIXES.into_iter().find(|prefix| files.has(&format!("{prefix}embedding/kernel"))) else {
        return Err(Error::unsupported(path, "no array embedding/kernel; expected a Vision Transformer of google-research/vision_transformer"));
    };
    let name = |part: &str| format!("{prefix}{part}");
    let &[patch_height, patch_width, _, width] = sizes(files, &name("embedding/kernel"))?;
    let query = name("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel");
    let &[_, heads, _] = sizes(files, &query)?;
    let &[_, mlp_width] = sizes(files, &name("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"))?;
    let depth = (0..).take_while(|i| files.has(&name(&format!("Transformer/encoderblock_{i}/LayerNorm_0/scale")))).count();
    let prefix_tokens = usize::from(files.has(&name("cls")));
    let backbone = match files.has(&name("conv_root/kernel")) {
        true => Some(Naming::Jax { prefix }.sizes(files)?),
        false => None,
    };
    let channels_of = if backbone.is_some() { name("conv_root/kernel") } else { name("embedding/kernel") };
    let &[_, _, channels, _] = sizes(files, &channels_of)?;
    let position = name("Transformer/posembed_input/pos_embedding");
    let &[_, rows, _] = sizes(files, &position)?;
    let side = rows.saturating_sub(prefix_tokens).isqrt();
    // Pixels that a pixel of the feature map stands for.
    let stride = backbone.as_ref().map_or(1, |backbone| 2 << backbone.stages.len().max(1));
    let mut classifiers = Vec::new();
    let pre_logits = match files.has(&name("pre_logits/kernel")) {
        true => {
            let &[_, width] = sizes(files, &name("pre_logits/kernel"))?;
            Some(Pooler { width, activation: Activation::Tanh })
        }
        false => None,
    };
    if files.has(&name("head/kernel")) {
        let &[read, classes] = sizes(files, &name("head/kernel"))?;
        let classifier = |name: &str, reads| Classifier { name: name.to_owned(), reads, classes, labels: super::labels(None, classes) };
        // timm leaves pre_logits out, flax does not: `logits` is the former's, `logits_jax` the latter's.
        classifiers.extend((read == width).then(|| classifier("", Reads::Features)));
        classifiers.extend(pre_logits.map(|_| classifier("jax", Reads::PreLogits)));
    }
    let config = Config {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        layout: Layout::Jax,
        input: Input::Image(Patches {
            channels,
            image: [side * patch_height * stride, side * patch_width * stride],
            size: [patch_height, patch_width],
            edge: Edge::Ignore,
            backbone,
        }),
        width,
        depth,
        heads,
        mlp_width,
        gated: false,
        epsilon: 1e-6,
        activation: Activation::Gelu,
        norm_order: NormOrder::Pre,
        prefix_tokens,
        rotary: None,
        pre_norm: false,
        qk_norm: false,
        layer_scale: false,
        final_norm: true,
        pooling: Some(if prefix_tokens > 0 { Pooling::First } else { Pooling::MeanFrom(0) }),
        pool_norm: false,
        pooler: None,
        projection: None,
        pre_logits,
        classifiers,
    };
    config.validate(path)?;
    let positions = PositionSource {
        name: position,
        prefix: prefix_tokens,
        width,
        grid: [side; 2],
        stored: StoredGrid::Square,
        resampling: Resampling::Bilinear,
        built: None,
    };
    Ok(Outline { weights: weights(&config, prefix), positions: Some(positions), config })
}

/// timm's preparation of pictures for these models: the released ones of 384 pixels are not cropped.
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

/// The sizes of an array's axes, which must be as many, and none of them 0.
fn sizes<'a, const AXES: usize>(files: &'a Files, name: &str) -> Result<&'a [usize; AXES]> {
    let shape = files.shape(name)?;
    let expected = || Error::tensor(name, format!("expected {AXES} axes of 1 to 1048576 elements, found {shape:?}"));
    let sizes: &[usize; AXES] = shape.try_into().map_err(|_| expected())?;
    if sizes.iter().all(|size| (1..=1 << 20).contains(size)) { Ok(sizes) } else { Err(expected()) }
}

/// flax' names for the weights. Kernels are stored `[in, out]`.
fn weights(config: &Config, prefix: &'static str) -> Weights<Source> {
    let (width, heads, head) = (config.width, config.heads, config.head_width());
    let patches = config.patches().expect("Google's models take images");
    let name = |part: &str| format!("{prefix}{part}");
    let norm = |of: &str| {
        let stored = |part: &str| Source::stored(name(&format!("{of}/{part}")), &[width]);
        Norm { weight: stored("scale"), bias: stored("bias") }
    };
    let dense = |of: &str, out: usize, input: usize| Linear {
        weight: Source::Stored { parts: vec![Part::permuted(name(&format!("{of}/kernel")), &[input, out], &[1, 0])], shape: vec![out, input] },
        bias: Source::stored(name(&format!("{of}/bias")), &[out]),
    };
    let block = |i: usize| {
        let of = |part: &str| format!("Transformer/encoderblock_{i}/{part}");
        let attention = |part: &str| name(&of(&format!("MultiHeadDotProductAttention_1/{part}")));
        let each = |part: &dyn Fn(&str) -> Part| ["query", "key", "value"].map(part).to_vec();
        let kernel = |which: &str| Part::permuted(attention(&format!("{which}/kernel")), &[width, heads, head], &[1, 2, 0]);
        let bias = |which: &str| Part::new(attention(&format!("{which}/bias")), &[heads, head]);
        let projection = Part::permuted(attention("out/kernel"), &[heads, head, width], &[2, 0, 1]);
        Block {
            norm1: norm(&of("LayerNorm_0")),
            qkv: Linear {
                weight: Source::Stored { parts: each(&kernel), shape: vec![3 * width, width] },
                bias: Source::Stored { parts: each(&bias), shape: vec![3 * width] },
            },
            qk_norm: None,
            projection: Linear {
                weight: Source::Stored { parts: vec![projection], shape: vec![width, width] },
                bias: Source::stored(attention("out/bias"), &[width]),
            },
            scale1: None,
            norm2: norm(&of("LayerNorm_2")),
            mlp1: dense(&of("MlpBlock_3/Dense_0"), config.mlp_width, width),
            mlp2: dense(&of("MlpBlock_3/Dense_1"), width, config.mlp_width),
            scale2: None,
        }
    };
    let stored = [patches.size[0], patches.size[1], patches.map_channels(), width];
    let head = |classifier: &Classifier| dense("head", classifier.classes, config.read_width(classifier.reads));
    let tokens = if config.prefix_tokens > 0 { vec![Part::new(name("cls"), &[1, width])] } else { Vec::new() };
    Weights {
        backbone: patches.backbone.as_ref().map(|backbone| Naming::Jax { prefix }.weights(backbone, patches.channels)),
        patch: Some(Linear {
            weight: Source::Stored {
                parts: vec![Part::permuted(name("embedding/kernel"), &stored, &[3, 2, 0, 1])],
                shape: vec![width, patches.values()],
            },
            bias: Source::stored(name("embedding/bias"), &[width]),
        }),
        prefix: Source::prefix(tokens, &name("Transformer/posembed_input/pos_embedding"), config.prefix_tokens, [config.prefix_tokens, width]),
        pre_norm: None,
        blocks: (0..config.depth).map(block).collect(),
        norm: Some(norm("Transformer/encoder_norm")),
        attention_pool: None,
        pool_norm: None,
        pooler: None,
        projection: None,
        pre_logits: config.pre_logits.map(|layer| dense("pre_logits", layer.width, width)),
        heads: config.classifiers.iter().map(head).collect(),
    }
}
