//! DINOv3 Vision Transformers, with rotary positions over both axes instead of a position table.

use super::{activation, class, patches, prefix};
use crate::data::config::{Activation, Angles, Config, Input, Layout, Rotary};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::{Part, Source, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{Block, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Presence of biases in a block's layers.
struct Biases {
    qkv: [bool; 3],
    projection: bool,
    mlp: bool,
}

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let class = class(root, "DINOv3ViTModel")?;
    if class != "DINOv3ViTModel" {
        return Err(root.unsupported("architectures", "DINOv3ViTModel"));
    }
    let registers = root.count("num_register_tokens")?.unwrap_or(0);
    let config = Config {
        width: root.size("hidden_size")?.unwrap_or(384),
        depth: checked_depth(root, root.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads: root.size("num_attention_heads")?.unwrap_or(6),
        mlp_width: root.size("intermediate_size")?.unwrap_or(1536),
        gated: root.bool("use_gated_mlp")?.unwrap_or(false),
        epsilon: root.number("layer_norm_eps")?.unwrap_or(1e-5) as f32,
        activation: activation(root, "hidden_act")?.unwrap_or(Activation::Gelu),
        prefix_tokens: 1 + registers,
        rotary: Some(Rotary { angles: Angles::Centred { base: base(root)? }, interleaved: false }),
        layer_scale: true,
        ..Config::plain(class, Layout::Transformers, Input::Image(patches(root, 16)?))
    };
    config.validate(root.path())?;
    let has = |key: &str, default: bool| Ok(root.bool(key)?.unwrap_or(default));
    let biases = Biases {
        qkv: [has("query_bias", true)?, has("key_bias", false)?, has("value_bias", true)?],
        projection: has("proj_bias", true)?,
        mlp: has("mlp_bias", true)?,
    };
    let front = prefix(files, &["", "model."], "layer.0.norm1.weight");
    Ok(Outline {
        weights: weights(&config, front, registers, &biases),
        positions: None.into(),
        config,
        text: TextSources::default(),
        own: vec!["embeddings.register_tokens".to_owned()],
    })
}

/// Reads the base of the rotary angles from the root, or from the `rope_parameters` of transformers 5.
fn base(root: &Object) -> Result<f64> {
    let nested = match root.object("rope_parameters")? {
        Some(parameters) if !matches!(parameters.string("rope_type")?, None | Some("default")) => {
            return Err(parameters.unsupported("rope_type", "default"));
        }
        Some(parameters) => parameters.number("rope_theta")?,
        None => None,
    };
    match root.number("rope_theta")?.or(nested).unwrap_or(100.0) {
        base if base > 0.0 => Ok(base),
        _ => Err(root.wrong("rope_theta", "a positive number")),
    }
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, registers: usize, biases: &Biases) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let block = |i: usize| {
        let name = |part: &str| format!("{front}layer.{i}.{part}");
        let qkv = ["q", "k", "v"].map(|which| name(&format!("attention.{which}_proj")));
        let (gate, up) = (name("mlp.gate_proj"), name("mlp.up_proj"));
        let inner: &[&str] = if config.gated { &[&gate, &up] } else { &[&up] };
        Block {
            norm1: norm(&name("norm1"), width),
            qkv: packed(&qkv.each_ref().map(String::as_str), [width, width], &biases.qkv),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attention.o_proj"), [width, width], biases.projection),
            scale1: Some(Source::stored(name("layer_scale1.lambda1"), &[width])),
            norm2: Some(norm(&name("norm2"), width)),
            mlp1: packed(inner, [mlp_width, width], &vec![biases.mlp; inner.len()]),
            mlp_norm: None,
            mlp2: linear(&name("mlp.down_proj"), [width, mlp_width], biases.mlp),
            scale2: Some(Source::stored(name("layer_scale2.lambda1"), &[width])),
        }
    };
    let mut prefix = vec![Part::new("embeddings.cls_token", &[1, width])];
    prefix.extend((registers > 0).then(|| Part::new("embeddings.register_tokens", &[registers, width])));
    let patches = config.patches().expect("it takes images");
    Weights {
        patch: Some(patch_projection("embeddings.patch_embeddings", config, patches, true)),
        prefix: Source::prefix(prefix, "", 0, [config.prefix_tokens, width]),
        norm: Some(norm("norm", width)),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
