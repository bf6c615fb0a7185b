//! timm's `Eva`: EVA and EVA-02, DINOv3, Perception Encoder, RoPE-ViT, Sapiens 2.
//!
//! Source: timm 1.0's `models/eva.py`, `layers/attention.py` (`AttentionRope`) and `layers/pos_embed_sincos.py`.

use super::arguments::Mlp;
use super::blocks::{mlp, norm_of, pool_mlp, qk_norm};
use super::{channels, check_known, classifiers, image_sizes, norm, position_source, pretrained, saved_grid};
use crate::data::config::{Activation, Angles, Config, Edge, Input, Layout, NormOrder, Patches, Pooling, Rotary};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::positions::PositionSources;
use crate::execution::checkpoint::source::{Part, Source, StoredGrid, linear, patch_projection};
use crate::execution::checkpoint::weights::{AttentionPool, Block, Linear, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};
use serde_json::Value;

/// Arguments that only affect training, or that other fields determine.
const IGNORED: &[&str] = &[
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "head_init_scale",
    "patch_drop_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "rope_jitter_coords",
    "rope_rescale_coords",
    "rope_shift_coords",
];

/// Arguments that [`read`] interprets.
const KNOWN: &[&str] = &[
    "attn_only_layer_scale",
    "attn_pool_mlp_ratio",
    "attn_pool_num_heads",
    "attn_type",
    "class",
    "class_token",
    "depth",
    "dynamic_img_pad",
    "dynamic_img_size",
    "embed_dim",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_ratio",
    "no_embed_class",
    "norm_layer",
    "num_classes",
    "num_heads",
    "num_kv_heads",
    "num_reg_tokens",
    "patch_size",
    "qk_norm",
    "qkv_bias",
    "qkv_fused",
    "ref_feat_shape",
    "rope_grid_indexing",
    "rope_grid_offset",
    "rope_rotate_half",
    "rope_temperature",
    "rope_type",
    "scale_attn_inner",
    "scale_mlp",
    "swiglu_align_to",
    "swiglu_mlp",
    "use_abs_pos_emb",
    "use_fc_norm",
    "use_post_norm",
    "use_post_transformer_norm",
    "use_pre_transformer_norm",
    "use_rot_pos_emb",
];

/// Where queries, keys and values are stored, and with which biases.
#[derive(Clone, Copy)]
enum Attention {
    /// One matrix, with biases of their own for queries and values.
    FusedEva { bias: bool },
    /// One matrix with one bias.
    FusedRope { bias: bool },
    /// Three matrices; `key` tells whether keys have a bias.
    Separate { bias: bool, key: bool },
}

/// What the names and shapes of tensors depend on besides the configuration.
struct Form {
    mlp: Mlp,
    attention: Attention,
    /// Number of heads of keys and values in each block.
    key_value_heads: Vec<usize>,
    /// Whether the MLP's output is scaled too.
    scales_mlp: bool,
    pool_width: usize,
    registers: usize,
    /// Number of prefix tokens with a position.
    positioned: usize,
}

/// Interprets the arguments of an `Eva`.
pub fn read(root: &Object, name: &str, args: &Object, files: Option<&Files>) -> Result<Outline> {
    check_known(args, KNOWN, IGNORED, &[("act_layer", Value::Null)])?;
    let pretrained = pretrained(root)?;
    let flag = |key: &str, default: bool| Ok::<bool, crate::data::error::Error>(args.bool(key)?.unwrap_or(default));
    let width = args.size("embed_dim")?.unwrap_or(768);
    let depth = checked_depth(root, args.size("depth")?.unwrap_or(12), files)?;
    let heads = args.size("num_heads")?.unwrap_or(12);
    let (mlp, mlp_width) = mlp_form(args, width)?;
    let class_token = flag("class_token", true)?;
    let registers = args.count("num_reg_tokens")?.unwrap_or(0);
    let prefix_tokens = usize::from(class_token) + registers;
    let pooling = match args.string("global_pool")?.or(pretrained.string("global_pool")?).unwrap_or("avg") {
        "token" if class_token => Some(Pooling::First),
        "avg" => Some(Pooling::MeanFrom(prefix_tokens)),
        "max" => Some(Pooling::MaxFrom(prefix_tokens)),
        "avgmax" => Some(Pooling::MeanAndMaxFrom(prefix_tokens)),
        // The MLP of its pooling has GELU, whatever the blocks have.
        "map" if mlp != Mlp::Plain => return Err(args.unsupported("global_pool", "token, avg, max, avgmax or empty, with swiglu_mlp")),
        "map" => Some(Pooling::Attention(0)),
        "" => None,
        _ => return Err(args.unsupported("global_pool", "token (with a class token), avg, max, avgmax, map or empty")),
    };
    let pool_norm = args.bool("use_fc_norm")?.unwrap_or(matches!(pooling, Some(Pooling::MeanFrom(_))));
    let (image, built) = image_sizes(root, args, &pretrained)?;
    let edge = if flag("dynamic_img_pad", false)? { Edge::Pad } else { Edge::Refuse };
    let size = args.pair("patch_size")?.unwrap_or([16, 16]);
    let input = Input::Image(Patches::new(channels(args, &pretrained)?, image, size, edge));
    let norm = norm(args)?;
    let config = Config {
        width,
        depth,
        heads,
        mlp_width,
        gated: mlp != Mlp::Plain,
        rms_norm: norm.rms,
        epsilon: norm.epsilon,
        activation: if mlp == Mlp::Plain { Activation::Gelu } else { Activation::Silu },
        norm_order: if flag("use_post_norm", false)? { NormOrder::ResidualPost } else { NormOrder::Pre },
        prefix_tokens,
        class_token,
        rotary: rotary(args)?,
        pre_norm: flag("use_pre_transformer_norm", false)?,
        qk_norm: flag("qk_norm", false)?,
        attention_norm: flag("scale_attn_inner", false)?,
        mlp_norm: flag("scale_mlp", false)?,
        layer_scale: args.number("init_values")?.is_some() && !flag("use_post_norm", false)?,
        final_norm: flag("use_post_transformer_norm", !pool_norm)?,
        pooling,
        pool_heads: args.size("attn_pool_num_heads")?.unwrap_or(heads),
        pool_norm,
        classifiers: if pooling.is_some() { classifiers(root, args, &pretrained, false)? } else { Vec::new() },
        ..Config::plain(name, Layout::Timm, input)
    };
    config.validate(root.path())?;
    if let Some(refusal) = config.patches().and_then(|patches| patches.grid_refusal(built, patches.whole_grid(built))) {
        return Err(args.error(format!("img_size: {refusal}")));
    }
    let absolute = flag("use_abs_pos_emb", true)?;
    let positioned = if absolute && !flag("no_embed_class", false)? { prefix_tokens } else { 0 };
    let dynamic = flag("dynamic_img_size", false)?;
    let saved = StoredGrid::Saved(saved_grid(root, &pretrained, &config)?);
    let learned_angles = matches!(config.rotary, Some(Rotary { angles: Angles::Learned { .. }, .. }));
    let positions = PositionSources {
        table: absolute.then(|| position_source(&config, built, dynamic, positioned, saved)),
        frequencies: learned_angles.then(|| Part::new("rope.freqs", &[2, depth, heads, config.head_width() / 2])),
        ..PositionSources::default()
    };
    let form = Form {
        mlp,
        attention: attention(args)?,
        key_value_heads: key_value_heads(args, depth, heads)?,
        scales_mlp: !flag("attn_only_layer_scale", false)?,
        pool_width: match args.number("attn_pool_mlp_ratio")? {
            Some(ratio) if ratio > 0.0 && ratio * width as f64 <= f64::from(1 << 20) => (width as f64 * ratio) as usize,
            Some(_) => return Err(args.wrong("attn_pool_mlp_ratio", "a factor that gives a width from 1 to 1048576")),
            None => super::mlp_inner(args, width)?,
        },
        registers,
        positioned,
    };
    let own = super::OWN.iter().map(|own| (*own).to_owned()).collect();
    Ok(Outline { weights: weights(&config, &form), positions, config, text: TextSources::default(), own })
}

/// Reads the form of the MLP and its hidden width F.
fn mlp_form(args: &Object, width: usize) -> Result<(Mlp, usize)> {
    let inner = super::mlp_inner(args, width)?;
    let align = args.count("swiglu_align_to")?.unwrap_or(0);
    Ok(match (args.bool("swiglu_mlp")?.unwrap_or(false), args.bool("scale_mlp")?.unwrap_or(false)) {
        (false, _) => (Mlp::Plain, inner),
        (true, false) if align == 0 => (Mlp::Packed, inner),
        (true, _) => (Mlp::Separate, inner.next_multiple_of(align.max(1))),
    })
}

fn rotary(args: &Object) -> Result<Option<Rotary>> {
    if !args.bool("use_rot_pos_emb")?.unwrap_or(false) {
        return Ok(None);
    }
    let base = args.number("rope_temperature")?.unwrap_or(10_000.0);
    let columns_first = match args.string("rope_grid_indexing")?.unwrap_or("ij") {
        "ij" => false,
        "xy" => true,
        _ => return Err(args.unsupported("rope_grid_indexing", "ij, xy")),
    };
    let offset = args.number("rope_grid_offset")?.unwrap_or(0.0);
    let angles = match args.string("rope_type")?.unwrap_or("cat") {
        "cat" => Angles::Indexed { base, offset, reference: args.pair("ref_feat_shape")?, columns_first },
        "mixed" => Angles::Learned { columns_first },
        "dinov3" if !columns_first && offset == 0.0 => Angles::Centred { base },
        "dinov3" => return Err(args.unsupported("rope_grid_indexing", "ij without an offset, for rope_type dinov3")),
        _ => return Err(args.unsupported("rope_type", "cat, dinov3, mixed")),
    };
    Ok(Some(Rotary { angles, interleaved: !args.bool("rope_rotate_half")?.unwrap_or(false) }))
}

fn attention(args: &Object) -> Result<Attention> {
    let bias = args.bool("qkv_bias")?.unwrap_or(true);
    let fused = args.bool("qkv_fused")?.unwrap_or(true);
    match args.string("attn_type")?.unwrap_or("eva") {
        "eva" if fused => Ok(Attention::FusedEva { bias }),
        "rope" if fused => Ok(Attention::FusedRope { bias }),
        kind @ ("eva" | "rope") => Ok(Attention::Separate { bias, key: bias && kind == "rope" }),
        _ => Err(args.unsupported("attn_type", "eva, rope")),
    }
}

/// Reads the number of heads of keys and values in each block (grouped-query attention, Ainslie et al. 2023).
fn key_value_heads(args: &Object, depth: usize, heads: usize) -> Result<Vec<usize>> {
    let counts = args.numbers("num_kv_heads")?.unwrap_or_else(|| vec![heads as f64]);
    let counts = if counts.len() == 1 { vec![counts[0]; depth] } else { counts };
    let divides = |count: &f64| count.fract() == 0.0 && (1.0..=heads as f64).contains(count) && heads.is_multiple_of(*count as usize);
    match counts.len() == depth && counts.iter().all(divides) {
        true => Ok(counts.iter().map(|&count| count as usize).collect()),
        false => Err(args.wrong("num_kv_heads", "a divisor of num_heads, or one for each block")),
    }
}

/// Returns queries, keys and values of one matrix `name.qkv`, with biases `q_bias` and `v_bias`. A key bias would not change the softmax; timm's is a
/// buffer of zeros that is not stored.
pub fn qkv_with_separate_biases(name: &str, width: usize, has_bias: bool) -> Linear<Source> {
    let bias = |part: &str| if has_bias { Part::new(format!("{name}.{part}"), &[width]) } else { Part::Zeros(width) };
    let biases = Source::of(vec![bias("q_bias"), Part::Zeros(width), bias("v_bias")], &[3 * width]);
    Linear { bias: biases, ..linear(&format!("{name}.qkv"), [3 * width, width], false) }
}

/// Returns queries, keys and values of three matrices. Keys and values of fewer heads are repeated for each of the heads that share them.
fn separate_qkv(config: &Config, name: &str, key_value_heads: usize, [bias, key_bias]: [bool; 2]) -> Linear<Source> {
    let (width, head, shared) = (config.width, config.head_width(), config.heads / key_value_heads);
    let parts = |kind: &str, has: [bool; 3]| {
        let of = move |which: &str, heads: usize, has: bool| -> Vec<Part> {
            let (rows, name) = (heads * head, format!("{name}.{which}_proj.{kind}"));
            let shape = if kind == "weight" { vec![rows, width] } else { vec![rows] };
            match (has, heads == config.heads) {
                (false, _) => vec![Part::Zeros(width)],
                (true, true) => vec![Part::new(name, &shape)],
                (true, false) => (0..config.heads).map(|h| Part::of_rows(name.clone(), &shape, h / shared * head..(h / shared + 1) * head)).collect(),
            }
        };
        [of("q", config.heads, has[0]), of("k", key_value_heads, has[1]), of("v", key_value_heads, has[2])].concat()
    };
    Linear {
        weight: Source::of(parts("weight", [true; 3]), &[3 * width, width]),
        bias: Source::of(parts("bias", [bias, key_bias, bias]), &[3 * width]),
    }
}

/// Maps weights to timm's tensor names.
fn weights(config: &Config, form: &Form) -> Weights<Source> {
    let width = config.width;
    let patches = config.patches().expect("timm's models take images");
    let block = |i: usize| {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let scale = |part: &str, scales: bool| (config.layer_scale && scales).then(|| Source::stored(name(part), &[width]));
        let (mlp1, mlp_norm, mlp2) = mlp(config, form.mlp, &name("mlp"), true);
        Block {
            norm1: norm_of(config, &name("norm1"), width),
            qkv: match form.attention {
                Attention::FusedEva { bias } => qkv_with_separate_biases(&name("attn"), width, bias),
                Attention::FusedRope { bias } => linear(&name("attn.qkv"), [3 * width, width], bias),
                Attention::Separate { bias, key } => separate_qkv(config, &name("attn"), form.key_value_heads[i], [bias, key]),
            },
            qk_norm: qk_norm(config, &name("attn")),
            attention_norm: config.attention_norm.then(|| norm_of(config, &name("attn.norm"), width)),
            projection: linear(&name("attn.proj"), [width, width], true),
            scale1: scale("gamma_1", true),
            norm2: Some(norm_of(config, &name("norm2"), width)),
            mlp1,
            mlp_norm,
            mlp2,
            scale2: scale("gamma_2", form.scales_mlp),
        }
    };
    let pool = || AttentionPool {
        latent: Source::stored("attn_pool.latent", &[1, width]),
        query: Some(linear("attn_pool.q", [width, width], true)),
        key_value: linear("attn_pool.kv", [2 * width, width], true),
        projection: linear("attn_pool.proj", [width, width], true),
        mlp: Some(pool_mlp(config, "attn_pool", form.pool_width)),
    };
    let mut prefix = Vec::new();
    prefix.extend(config.class_token.then(|| Part::new("cls_token", &[1, width])));
    prefix.extend((form.registers > 0).then(|| Part::new("reg_token", &[form.registers, width])));
    Weights {
        patch: Some(patch_projection("patch_embed.proj", config, patches, !config.pre_norm)),
        prefix: Source::prefix(prefix, "pos_embed", form.positioned, [config.prefix_tokens, width]),
        pre_norm: config.pre_norm.then(|| norm_of(config, "norm_pre", width)),
        norm: config.final_norm.then(|| norm_of(config, "norm", width)),
        attention_pool: matches!(config.pooling, Some(Pooling::Attention(_))).then(pool),
        pool_norm: config.pool_norm.then(|| norm_of(config, "fc_norm", width)),
        heads: config.classifiers.iter().map(|classifier| linear("head", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
