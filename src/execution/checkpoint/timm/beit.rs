//! timm's `Beit`: biases by relative positions, separate query and value biases (Bao et al. 2022; Peng et al. 2022, BEiT v2).
//!
//! Source: timm 1.0's `models/beit.py`.

use super::arguments::Mlp;
use super::blocks::{mlp, norm_of};
use super::eva::qkv_with_separate_biases;
use super::{channels, check_known, classifiers, input_size, norm, position_source, pretrained};
use crate::data::config::{Activation, Config, Edge, Input, Layout, Patches, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::positions::PositionSources;
use crate::execution::checkpoint::relative::RelativeSource;
use crate::execution::checkpoint::source::{Part, Source, StoredGrid, linear, patch_projection};
use crate::execution::checkpoint::weights::{Block, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Arguments that only affect training.
const IGNORED: &[&str] = &["attn_drop_rate", "drop_path_rate", "drop_rate", "head_init_scale", "pos_drop_rate", "proj_drop_rate"];

/// Arguments that [`read`] interprets.
const KNOWN: &[&str] = &[
    "class",
    "depth",
    "embed_dim",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_ratio",
    "norm_layer",
    "num_classes",
    "num_heads",
    "patch_size",
    "qkv_bias",
    "scale_mlp",
    "swiglu_mlp",
    "use_abs_pos_emb",
    "use_fc_norm",
    "use_rel_pos_bias",
    "use_shared_rel_pos_bias",
];

/// Interprets the arguments of a `Beit`.
pub fn read(root: &Object, name: &str, args: &Object, files: Option<&Files>) -> Result<Outline> {
    check_known(args, KNOWN, IGNORED, &[])?;
    let pretrained = pretrained(root)?;
    let input = input_size(&pretrained)?.map(|[_, height, width]| [height, width]);
    let width = args.size("embed_dim")?.unwrap_or(768);
    let gated = args.bool("swiglu_mlp")?.unwrap_or(false);
    let pooling = match args.string("global_pool")?.or(pretrained.string("global_pool")?).unwrap_or("avg") {
        "avg" => Some(Pooling::MeanFrom(1)),
        "token" => Some(Pooling::First),
        "" => None,
        _ => return Err(args.unsupported("global_pool", "avg, token or empty")),
    };
    let pool_norm = args.bool("use_fc_norm")?.unwrap_or(matches!(pooling, Some(Pooling::MeanFrom(_))));
    let [each, shared] = [args.bool("use_rel_pos_bias")?.unwrap_or(false), args.bool("use_shared_rel_pos_bias")?.unwrap_or(false)];
    if each && shared {
        return Err(args.unsupported("use_shared_rel_pos_bias", "biases of each block, or shared ones, not both"));
    }
    let norm = norm(args)?;
    let image = args.pair("img_size")?.or(input).unwrap_or([224, 224]);
    let size = args.pair("patch_size")?.unwrap_or([16, 16]);
    let input = Input::Image(Patches::new(channels(args, &pretrained)?, image, size, Edge::Refuse));
    let config = Config {
        width,
        depth: checked_depth(root, args.size("depth")?.unwrap_or(12), files)?,
        heads: args.size("num_heads")?.unwrap_or(12),
        mlp_width: super::mlp_inner(args, width)?,
        gated,
        rms_norm: norm.rms,
        epsilon: norm.epsilon,
        activation: if gated { Activation::Silu } else { Activation::Gelu },
        relative_positions: each || shared,
        mlp_norm: args.bool("scale_mlp")?.unwrap_or(false),
        // timm takes 0 for none.
        layer_scale: args.number("init_values")?.is_some_and(|value| value != 0.0),
        final_norm: !pool_norm,
        pool_norm,
        pooling,
        classifiers: if pooling.is_some() { classifiers(root, args, &pretrained, false)? } else { Vec::new() },
        ..Config::plain(name, Layout::Timm, input)
    };
    config.validate(root.path())?;
    let grid = config.patches().expect("it takes images").whole_grid(image);
    if (each || shared) && is_taken_for_square(grid) {
        let [height, width] = grid;
        return Err(args.error(format!(
            "img_size: timm takes the biases of {height} x {width} patches for those of a square, as the number of biases is a square; expected another size"
        )));
    }
    let relative =
        |name: String| RelativeSource { name: format!("{name}.relative_position_bias_table"), heads: config.heads, grid, resampled: false };
    let absolute = args.bool("use_abs_pos_emb")?.unwrap_or(true);
    let positions = PositionSources {
        table: absolute.then(|| position_source(&config, image, false, 1, StoredGrid::Configured)),
        relative: match shared {
            true => vec![relative("rel_pos_bias".to_owned())],
            false => (0..config.depth * usize::from(each)).map(|i| relative(format!("blocks.{i}.attn"))).collect(),
        },
        ..PositionSources::default()
    };
    let own = super::OWN.iter().copied().chain(["rel_pos_bias."]).map(str::to_owned).collect();
    let weights = weights(&config, if gated { Mlp::Separate } else { Mlp::Plain }, args.bool("qkv_bias")?.unwrap_or(true), absolute);
    Ok(Outline { weights, positions, config, text: TextSources::default(), own })
}

/// Whether timm resamples a table of biases for this grid as if it were that of a square one: a grid is no square, but the number of its offsets is.
fn is_taken_for_square([height, width]: [usize; 2]) -> bool {
    let offsets = (2 * height - 1) * (2 * width - 1);
    height != width && offsets.isqrt().pow(2) == offsets
}

/// Maps weights to timm's tensor names.
fn weights(config: &Config, form: Mlp, qkv_bias: bool, absolute: bool) -> Weights<Source> {
    let width = config.width;
    let patches = config.patches().expect("it takes images");
    let block = |i: usize| {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let scale = |part: &str| config.layer_scale.then(|| Source::stored(name(part), &[width]));
        let (mlp1, mlp_norm, mlp2) = mlp(config, form, &name("mlp"), true);
        Block {
            norm1: norm_of(config, &name("norm1"), width),
            qkv: qkv_with_separate_biases(&name("attn"), width, qkv_bias),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attn.proj"), [width, width], true),
            scale1: scale("gamma_1"),
            norm2: Some(norm_of(config, &name("norm2"), width)),
            mlp1,
            mlp_norm,
            mlp2,
            scale2: scale("gamma_2"),
        }
    };
    Weights {
        patch: Some(patch_projection("patch_embed.proj", config, patches, true)),
        prefix: Source::prefix(vec![Part::new("cls_token", &[1, width])], "pos_embed", usize::from(absolute), [1, width]),
        norm: config.final_norm.then(|| norm_of(config, "norm", width)),
        pool_norm: config.pool_norm.then(|| norm_of(config, "fc_norm", width)),
        heads: config.classifiers.iter().map(|classifier| linear("head", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
