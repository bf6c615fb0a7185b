//! timm's `Eva` as used by DINOv3: rotary positions, separate query and value biases.
//!
//! Source: timm 1.0's `models/eva.py` and `layers/pos_embed_sincos.py` (`RotaryEmbeddingDinoV3`).

use super::{channels, check_known, classifiers, epsilon, input_size, pretrained};
use crate::data::config::{Activation, Config, Edge, Input, Layout, Patches, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::{Part, Source, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{Block, Linear, Weights};
use crate::execution::checkpoint::{Files, Outline, checked_depth};
use serde_json::{Value, json};

/// Arguments that only affect training, or that other fields determine.
const IGNORED: &[&str] = &[
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "dynamic_img_size",
    "patch_drop_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "ref_feat_shape",
    "rope_grid_offset",
];

/// Arguments that [`read`] interprets.
const KNOWN: &[&str] = &[
    "class",
    "depth",
    "dynamic_img_pad",
    "embed_dim",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_ratio",
    "norm_layer",
    "num_classes",
    "num_heads",
    "num_reg_tokens",
    "patch_size",
    "qkv_bias",
    "rope_temperature",
    "swiglu_align_to",
    "swiglu_mlp",
];

/// Arguments supported only with DINOv3's value.
fn fixed() -> [(&'static str, Value); 12] {
    [
        ("act_layer", Value::Null),
        ("attn_type", json!("eva")),
        ("class_token", json!(true)),
        ("qkv_fused", json!(true)),
        ("rope_rotate_half", json!(true)),
        ("rope_type", json!("dinov3")),
        ("scale_attn_inner", json!(false)),
        ("scale_mlp", json!(false)),
        ("use_abs_pos_emb", json!(false)),
        ("use_fc_norm", json!(false)),
        ("use_post_norm", json!(false)),
        ("use_rot_pos_emb", json!(true)),
    ]
}

/// Interprets the arguments of an `Eva`.
pub fn read(root: &Object, name: &str, args: &Object, files: Option<&Files>) -> Result<Outline> {
    check_known(args, KNOWN, IGNORED, &fixed())?;
    let pretrained = pretrained(root)?;
    let input = input_size(&pretrained)?.map(|[_, height, width]| [height, width]);
    let width = args.size("embed_dim")?.unwrap_or(768);
    let gated = args.bool("swiglu_mlp")?.unwrap_or(false);
    let mlp_width = super::mlp_inner(args, width)?.next_multiple_of(if gated { args.size("swiglu_align_to")?.unwrap_or(1) } else { 1 });
    let registers = args.count("num_reg_tokens")?.unwrap_or(0);
    let prefix_tokens = 1 + registers;
    let pooling = match args.string("global_pool")?.or(pretrained.string("global_pool")?).unwrap_or("avg") {
        "token" => Pooling::First,
        "avg" => Pooling::MeanFrom(prefix_tokens),
        _ => return Err(args.unsupported("global_pool", "token, avg")),
    };
    let input = Input::Image(Patches {
        channels: channels(args, &pretrained)?,
        image: args.pair("img_size")?.or(input).unwrap_or([224, 224]),
        size: args.pair("patch_size")?.unwrap_or([16, 16]),
        edge: if args.bool("dynamic_img_pad")?.unwrap_or(false) { Edge::Pad } else { Edge::Refuse },
        backbone: None,
    });
    let config = Config {
        width,
        depth: checked_depth(root, args.size("depth")?.unwrap_or(12), files)?,
        heads: args.size("num_heads")?.unwrap_or(12),
        mlp_width,
        gated,
        epsilon: epsilon(args)?,
        activation: if gated { Activation::Silu } else { Activation::Gelu },
        prefix_tokens,
        rotary: Some(args.number("rope_temperature")?.unwrap_or(100.0)),
        layer_scale: args.number("init_values")?.is_some(),
        pooling: Some(pooling),
        classifiers: classifiers(root, args, &pretrained, false)?,
        ..Config::plain(name, Layout::Timm, input)
    };
    config.validate(root.path())?;
    let own = super::OWN.iter().map(|own| (*own).to_owned()).collect();
    Ok(Outline { weights: weights(&config, registers, args.bool("qkv_bias")?.unwrap_or(true)), positions: None, config, own })
}

/// Maps weights to timm's tensor names.
fn weights(config: &Config, registers: usize, qkv_bias: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let patches = config.patches().expect("timm's models take images");
    let block = |i: usize| {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let scale = |part: &str| config.layer_scale.then(|| Source::stored(name(part), &[width]));
        let bias = |part: &str| if qkv_bias { Part::new(name(part), &[width]) } else { Part::Zeros(width) };
        let qkv = linear(&name("attn.qkv"), [3 * width, width], false);
        // A key bias would not change the softmax. timm's is a buffer of zeros that is not stored.
        let biases = Source::of(vec![bias("attn.q_bias"), Part::Zeros(width), bias("attn.v_bias")], &[3 * width]);
        Block {
            norm1: norm(&name("norm1"), width),
            qkv: Linear { bias: biases, ..qkv },
            qk_norm: None,
            projection: linear(&name("attn.proj"), [width, width], true),
            scale1: scale("gamma_1"),
            norm2: norm(&name("norm2"), width),
            mlp1: match config.gated {
                true => packed(&[&name("mlp.fc1_g"), &name("mlp.fc1_x")], [mlp_width, width], &[true, true]),
                false => linear(&name("mlp.fc1"), [mlp_width, width], true),
            },
            mlp2: linear(&name("mlp.fc2"), [width, mlp_width], true),
            scale2: scale("gamma_2"),
        }
    };
    let mut prefix = vec![Part::new("cls_token", &[1, width])];
    prefix.extend((registers > 0).then(|| Part::new("reg_token", &[registers, width])));
    Weights {
        patch: Some(patch_projection("patch_embed.proj", config, patches, true)),
        prefix: Source::prefix(prefix, "", 0, [config.prefix_tokens, width]),
        norm: Some(norm("norm", width)),
        heads: config.classifiers.iter().map(|classifier| linear("head", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
