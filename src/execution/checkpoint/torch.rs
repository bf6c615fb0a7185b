//! `torch.nn.TransformerEncoder`: the original encoder (Vaswani et al. 2017), which takes embeddings. Its `config.json`
//! has `"model_type": "torch_transformer_encoder"`, and the constructor arguments under their names.

use super::json::Object;
use super::source::{Part, Source, linear, norm};
use super::weights::{Block, Linear, Norm, Weights};
use super::{Files, Outline, TextSources, checked_depth};
use crate::data::config::{Activation, Config, Input, Layout, NormOrder};
use crate::data::error::Result;

/// `model_type` of these configurations.
pub const MODEL_TYPE: &str = "torch_transformer_encoder";

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let input = Input::Embeddings { longest: root.size("max_len")?.unwrap_or(1 << 16) };
    let config = Config {
        width: root.size("d_model")?.unwrap_or(512),
        depth: checked_depth(root, root.size("num_layers")?.unwrap_or(6), files)?,
        heads: root.size("nhead")?.unwrap_or(8),
        mlp_width: root.size("dim_feedforward")?.unwrap_or(2048),
        epsilon: root.number("layer_norm_eps")?.unwrap_or(1e-5) as f32,
        activation: match root.string("activation")? {
            None | Some("relu") => Activation::Relu,
            Some("gelu") => Activation::Gelu,
            Some(_) => return Err(root.unsupported("activation", "relu, gelu")),
        },
        norm_order: if root.bool("norm_first")?.unwrap_or(false) { NormOrder::Pre } else { NormOrder::Post },
        prefix_tokens: 0,
        class_token: false,
        final_norm: root.bool("final_norm")?.unwrap_or(false),
        pooling: None,
        ..Config::plain("TransformerEncoder", Layout::Torch, input)
    };
    config.validate(root.path())?;
    Ok(Outline {
        weights: weights(&config, root.bool("bias")?.unwrap_or(true)),
        positions: None.into(),
        config,
        text: TextSources::default(),
        own: vec!["norm.".to_owned()],
    })
}

/// Maps weights to torch's tensor names.
fn weights(config: &Config, has_bias: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let norm = |name: &str| match norm(name, width) {
        found if has_bias => found,
        Norm { weight, .. } => Norm { weight, bias: Some(Source::zeros(width)) },
    };
    let block = |i: usize| {
        let name = |part: &str| format!("layers.{i}.{part}");
        let bias = if has_bias { Part::new(name("self_attn.in_proj_bias"), &[3 * width]) } else { Part::Zeros(3 * width) };
        Block {
            norm1: norm(&name("norm1")),
            qkv: Linear { weight: Source::stored(name("self_attn.in_proj_weight"), &[3 * width, width]), bias: Source::of(vec![bias], &[3 * width]) },
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("self_attn.out_proj"), [width, width], has_bias),
            scale1: None,
            norm2: Some(norm(&name("norm2"))),
            mlp1: linear(&name("linear1"), [mlp_width, width], has_bias),
            mlp_norm: None,
            mlp2: linear(&name("linear2"), [width, mlp_width], has_bias),
            scale2: None,
        }
    };
    Weights { norm: config.final_norm.then(|| norm("norm")), ..Weights::of_blocks((0..config.depth).map(block).collect()) }
}
