//! AIMv2's vision tower, alone or next to a text tower (Fini et al. 2024).

use super::{activation, class, patches, prefix};
use crate::data::config::{Activation, Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, packed, patch_projection, rms_norm};
use crate::execution::checkpoint::weights::{AttentionPool, Block, Linear, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Presence of biases.
#[derive(Clone, Copy)]
struct Biases {
    qkv: bool,
    mlp: bool,
}

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let class = class(root, "Aimv2VisionModel")?;
    let projects = match class {
        "Aimv2VisionModel" => false,
        "Aimv2Model" => true,
        _ => return Err(root.unsupported("architectures", "Aimv2VisionModel, Aimv2Model")),
    };
    let vision = root.object("vision_config")?.unwrap_or_else(|| root.clone());
    let flag = |key: &str, default: bool| Ok::<bool, crate::data::error::Error>(vision.bool(key)?.unwrap_or(default));
    if flag("is_native", false)? {
        return Err(vision.unsupported("is_native", "false"));
    }
    let front =
        prefix(files, &[if projects { "vision_model." } else { "" }, if projects { "" } else { "vision_model." }], "embeddings.patch_embed.weight");
    let width = vision.size("hidden_size")?.unwrap_or(1024);
    let heads = vision.size("num_attention_heads")?.unwrap_or(8);
    let patches = patches(&vision, 14)?;
    let grid = patches.whole_grid(patches.image);
    let has_head = flag("use_head", true)?;
    let config = Config {
        width,
        depth: checked_depth(root, vision.size("num_hidden_layers")?.unwrap_or(24), files)?,
        heads,
        pool_heads: heads,
        mlp_width: vision.size("intermediate_size")?.unwrap_or(2816),
        gated: true,
        rms_norm: true,
        epsilon: vision.number("rms_norm_eps")?.unwrap_or(1e-5) as f32,
        activation: activation(&vision, "hidden_act")?.unwrap_or(Activation::Silu),
        prefix_tokens: 0,
        class_token: false,
        patch_norm: true,
        pooling: has_head.then_some(Pooling::Attention(0)),
        projection: (projects && has_head).then(|| Ok(root.size("projection_dim")?.unwrap_or(512))).transpose()?,
        ..Config::plain(class, Layout::Transformers, Input::Image(patches))
    };
    config.validate(root.path())?;
    let positions = PositionSource {
        name: format!("{front}embeddings.position_embedding.weight"),
        prefix: 0,
        width,
        grid,
        stored: StoredGrid::Configured,
        // transformers runs it at its own size only; others are resampled as timm does it for the same weights.
        resampling: Resampling::BicubicAntialiased,
        built: None,
    };
    let biases = Biases { qkv: flag("qkv_bias", false)?, mlp: flag("mlp_bias", false)? };
    Ok(Outline { weights: weights(&config, front, biases), positions: Some(positions).into(), config, text: TextSources::default(), own: Vec::new() })
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, biases: Biases) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    let joined = |names: &[String], out: usize, bias: bool| -> Linear<Source> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        packed(&names, [out, width], &vec![bias; names.len()])
    };
    let block = |i: usize| {
        let name = |part: &str| name(&format!("encoder.layers.{i}.{part}"));
        Block {
            norm1: rms_norm(&name("rms_norm1"), width),
            qkv: joined(&["q", "k", "v"].map(|which| name(&format!("attention.{which}_proj"))), width, biases.qkv),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attention.out_proj"), [width, width], biases.qkv),
            scale1: None,
            norm2: Some(rms_norm(&name("rms_norm2"), width)),
            mlp1: joined(&["gate", "up"].map(|which| name(&format!("ffn.{which}_proj"))), mlp_width, biases.mlp),
            mlp_norm: None,
            mlp2: linear(&name("ffn.down_proj"), [width, mlp_width], biases.mlp),
            scale2: None,
        }
    };
    let pool = || AttentionPool {
        latent: Source::of(vec![Part::new(name("head.cls_token"), &[1, width])], &[1, width]),
        query: None,
        key_value: joined(&["k", "v"].map(|which| name(&format!("head.{which}_proj"))), width, biases.qkv),
        projection: linear(&name("head.output_proj"), [width, width], true),
        mlp: None,
    };
    let patches = config.patches().expect("it takes images");
    Weights {
        patch: Some(patch_projection(&name("embeddings.patch_embed"), config, patches, true)),
        patch_norm: Some(rms_norm(&name("embeddings.rms_norm"), width)),
        norm: Some(rms_norm(&name("rms_norm"), width)),
        attention_pool: config.pooling.map(|_| pool()),
        projection: config.projection.map(|size| linear("visual_projection", [size, width], false)),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
