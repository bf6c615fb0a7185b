//! DINOv2, with and without registers.

use super::{activation, class, classifier, has, patches, prefix, tipsv2};
use crate::data::config::{Activation, Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{Block, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let has_registers = root.string("model_type")? == Some("dinov2_with_registers");
    let (stem, front) = if has_registers { ("Dinov2WithRegisters", "dinov2_with_registers.") } else { ("Dinov2", "dinov2.") };
    let (base, classifies) = (format!("{stem}Model"), format!("{stem}ForImageClassification"));
    let class = class(root, if has(files, "classifier.weight") { &classifies } else { &base })?;
    let is_base = class == base;
    if !is_base && class != classifies {
        return Err(root.unsupported("architectures", &format!("{base}, {classifies}")));
    }
    let front = prefix(files, &[if is_base { "" } else { front }, if is_base { front } else { "" }], "embeddings.position_embeddings");
    encoder(root, files, class, is_base, front)
}

/// Reads the encoder of another model, whose tensors' names begin with `front`, without a pooled vector.
pub fn below(root: &Object, files: Option<&Files>, front: &str) -> Result<Outline> {
    let mut outline = encoder(root, files, "Dinov2Model", true, front)?;
    outline.config.pooling = None;
    Ok(outline)
}

/// Reads an encoder whose tensors' names begin with `front`.
pub fn encoder(root: &Object, files: Option<&Files>, class: &str, is_base: bool, front: &str) -> Result<Outline> {
    let has_registers = matches!(root.string("model_type")?, Some("dinov2_with_registers" | tipsv2::MODEL_TYPE));
    let registers = if has_registers { root.count("num_register_tokens")?.unwrap_or(4) } else { 0 };
    let prefix_tokens = 1 + registers;
    let width = root.size("hidden_size")?.unwrap_or(768);
    let gated = root.bool("use_swiglu_ffn")?.unwrap_or(false);
    let patches = patches(root, if has_registers { 16 } else { 14 })?;
    let grid = patches.whole_grid(patches.image);
    let config = Config {
        width,
        depth: checked_depth(root, root.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads: root.size("num_attention_heads")?.unwrap_or(12),
        mlp_width: mlp_width(root, width, gated)?,
        gated,
        epsilon: root.number("layer_norm_eps")?.unwrap_or(1e-6) as f32,
        activation: if gated { Activation::Silu } else { activation(root, "hidden_act")?.unwrap_or(Activation::Gelu) },
        prefix_tokens,
        layer_scale: true,
        pooling: Some(if is_base { Pooling::First } else { Pooling::FirstAndMeanFrom(prefix_tokens) }),
        classifiers: if is_base { Vec::new() } else { classifier(root)? },
        ..Config::plain(class, Layout::Transformers, Input::Image(patches))
    };
    config.validate(root.path())?;
    let positions = PositionSource {
        name: format!("{front}embeddings.position_embeddings"),
        prefix: 1,
        width,
        grid,
        // The table is resampled for every image, and always treated as a square grid.
        stored: StoredGrid::Square,
        resampling: match root.string("model_type")? {
            Some(tipsv2::MODEL_TYPE) => Resampling::BilinearAntialiased,
            Some("dinov2_with_registers") => Resampling::BicubicAntialiased,
            _ => Resampling::Bicubic,
        },
        built: None,
    };
    let weights = weights(&config, front, registers, root.bool("qkv_bias")?.unwrap_or(true));
    Ok(Outline { weights, positions: Some(positions).into(), config, text: TextSources::default(), own: Vec::new() })
}

/// Hidden width F of the MLP. With a gate, it is two thirds of the plain width, rounded up to a multiple of 8.
fn mlp_width(root: &Object, width: usize, gated: bool) -> Result<usize> {
    let plain = (width as f64 * root.number("mlp_ratio")?.unwrap_or(4.0)) as usize;
    let inner = if gated { (plain * 2 / 3).next_multiple_of(8) } else { plain };
    match (1..=1 << 20).contains(&inner) {
        true => Ok(inner),
        false => Err(root.wrong("mlp_ratio", "a factor that gives a width from 1 to 1048576")),
    }
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, registers: usize, qkv_bias: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    let block = |i: usize| {
        let name = |part: &str| name(&format!("encoder.layer.{i}.{part}"));
        let qkv = ["query", "key", "value"].map(|which| name(&format!("attention.attention.{which}")));
        let (mlp1, mlp2) = if config.gated { ("mlp.weights_in", "mlp.weights_out") } else { ("mlp.fc1", "mlp.fc2") };
        Block {
            norm1: norm(&name("norm1"), width),
            qkv: packed(&qkv.each_ref().map(String::as_str), [width, width], &[qkv_bias; 3]),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attention.output.dense"), [width, width], true),
            scale1: Some(Source::stored(name("layer_scale1.lambda1"), &[width])),
            norm2: Some(norm(&name("norm2"), width)),
            mlp1: linear(&name(mlp1), [config.mlp_outputs(), width], true),
            mlp_norm: None,
            mlp2: linear(&name(mlp2), [width, mlp_width], true),
            scale2: Some(Source::stored(name("layer_scale2.lambda1"), &[width])),
        }
    };
    let mut prefix = vec![Part::new(name("embeddings.cls_token"), &[1, width])];
    prefix.extend((registers > 0).then(|| Part::new(name("embeddings.register_tokens"), &[registers, width])));
    let patches = config.patches().expect("it takes images");
    Weights {
        patch: Some(patch_projection(&name("embeddings.patch_embeddings.projection"), config, patches, true)),
        prefix: Source::prefix(prefix, &name("embeddings.position_embeddings"), 1, [config.prefix_tokens, width]),
        norm: Some(norm(&name("layernorm"), width)),
        heads: config.classifiers.iter().map(|classifier| linear("classifier", [classifier.classes, config.feature_width()], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
