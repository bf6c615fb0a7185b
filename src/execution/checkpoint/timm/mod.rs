//! timm's layout: `config.json` with an architecture name, `model_args` and `pretrained_cfg`.
//!
//! Source: timm 1.0's `models/_hub.py` (`load_model_config_from_hf`), `models/_builder.py` and
//! `models/vision_transformer.py`.

mod arguments;
mod backbone;
mod beit;
mod blocks;
mod eva;
mod preprocess;

pub use preprocess::preprocess;

use super::json::Object;
use super::position::Resampling;
use super::source::{Part, PositionSource, Source, StoredGrid, linear, patch_projection};
use super::weights::{AttentionPool, Weights};
use super::{Files, Outline, TextSources, checked_depth, stem};
use crate::data::config::{Branches, Classifier, Config, Edge, Input, Layout, NormOrder, Patches, Pooling, Probabilities, Reads};
use crate::data::error::{Error, Result};
use arguments::{
    Mlp, activation, architectures, arguments, channels, check_known, class_count, has_fixed_size, image_sizes, input_size, mlp, mlp_inner, norm,
    norm_layer, pretrained, saved_size,
};
use serde_json::Value;

/// Arguments that only affect training, or that other fields determine.
const IGNORED: &[&str] = &[
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "dynamic_img_size",
    "fix_init",
    "patch_drop_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "strict_img_size",
    "weight_init",
];

/// Arguments supported only with one value, which is also the default.
const FIXED: &[(&str, Value)] = &[("attn_layer", Value::Null), ("embed_layer", Value::Null)];

/// Arguments that [`interpret`] reads.
const KNOWN: &[&str] = &[
    "act_layer",
    "backbone",
    "block_fn",
    "class",
    "class_token",
    "depth",
    "dynamic_img_pad",
    "embed_dim",
    "embed_norm_layer",
    "fc_norm",
    "final_norm",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_layer",
    "mlp_ratio",
    "no_embed_class",
    "norm_layer",
    "num_classes",
    "num_heads",
    "patch_size",
    "pool_include_prefix",
    "pos_embed",
    "pre_norm",
    "proj_bias",
    "qk_norm",
    "qkv_bias",
    "reg_tokens",
    "scale_attn_norm",
    "scale_mlp_norm",
    "stem",
];

/// Name prefixes of the encoder's tensors outside its blocks. `head.` is not listed, because a classifier may go unused.
const OWN: &[&str] =
    &["attn_pool.", "cls_token", "dist_token", "fc_norm.", "head_dist.", "norm.", "norm_pre.", "patch_embed.", "pos_embed", "reg_token", "rope."];

/// Interprets a `config.json` with an `architecture`. A hybrid's backbone takes its sizes from the tensors, or without
/// files from the name.
pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    match (interpret(root, files), root.string("architecture")?) {
        (Err(Error::Unsupported { message, .. }), Some(name)) => Err(refused(root, name, message, files)),
        (result, _) => result,
    }
}

/// Builds the error for an unsupported model, with the nearest supported architecture (the same one without the file's arguments, if
/// supported) and the first mismatched tensor.
fn refused(root: &Object, name: &str, message: String, files: Option<&Files>) -> Error {
    let plain = |name: &str| {
        let config = serde_json::json!({ "architecture": name });
        Object::parse(root.path(), config.to_string().as_bytes()).expect("an object")
    };
    let outlined = |name: &str| interpret(&plain(name), None).ok();
    let nearest = match outlined(name) {
        Some(_) => Some(name.to_owned()),
        None => super::nearest(name, architectures().keys(), outlined, files),
    };
    let Some(nearest) = nearest else {
        return Error::unsupported(root.path(), format!("{message}, and its tensors are not those of a Vision Transformer"));
    };
    let named = root.clone().with("architecture", nearest.clone().into());
    // If the file's own arguments do not fit that model either, compare its tensors with the model's defaults.
    super::refusal(root.path(), message, &nearest, || interpret(&named, files).or_else(|_| interpret(&plain(&nearest), files)), files)
}

fn interpret(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let name = root.string("architecture")?.ok_or_else(|| root.wrong("architecture", "a name"))?;
    let args = arguments(root, name)?;
    let distilled = match args.string("class")? {
        Some("Eva") => return eva::read(root, name, &args, files),
        Some("Beit") => return beit::read(root, name, &args, files),
        Some("VisionTransformerDistilled") => true,
        None => false,
        Some(_) => return Err(args.unsupported("class", "VisionTransformer, VisionTransformerDistilled, Eva, Beit")),
    };
    check_known(&args, KNOWN, IGNORED, FIXED)?;
    let pretrained = pretrained(root)?;
    let (image, built) = image_sizes(root, &args, &pretrained)?;
    let backbone = backbone::read(&args, files)?;
    let width = args.size("embed_dim")?.unwrap_or(768);
    let edge = if args.bool("dynamic_img_pad")?.unwrap_or(false) { Edge::Pad } else { Edge::Refuse };
    let size = args.pair("patch_size")?;
    let patches = match args.has("stem") {
        true => with_stem(&args, Patches::new(channels(&args, &pretrained)?, image, size.unwrap_or([1, 1]), edge), width)?,
        false => {
            let size = size.unwrap_or(if backbone.is_some() { [1, 1] } else { [16, 16] });
            Patches { backbone, ..Patches::new(channels(&args, &pretrained)?, image, size, edge) }
        }
    };
    let inner = mlp_inner(&args, width)?;
    let mlp = mlp(&args)?;
    let gated = mlp != Mlp::Plain;
    if mlp == Mlp::Packed && !inner.is_multiple_of(2) {
        return Err(args.wrong("mlp_ratio", "a factor that gives an even width, half for the gate and half for the values"));
    }
    let class_token = args.bool("class_token")?.unwrap_or(true);
    let registers = args.count("reg_tokens")?.unwrap_or(0);
    let prefix_tokens = registers + usize::from(class_token) + usize::from(distilled);
    let pooling = pooling(&args, &pretrained, class_token, distilled, prefix_tokens)?;
    if gated && matches!(pooling, Some(Pooling::Attention(_))) {
        return Err(args.unsupported("mlp_layer", "a plain MLP in models with attention pooling"));
    }
    // timm's null means its default: with pooling over tokens, the norm follows the pooling.
    let pool_norm = args.bool("fc_norm")?.unwrap_or(matches!(pooling, Some(Pooling::MeanFrom(_) | Pooling::MaxFrom(_) | Pooling::MeanAndMaxFrom(_))));
    let final_norm = args.bool("final_norm")?.unwrap_or(true);
    let learned = match args.string("pos_embed")? {
        None | Some("learn") => true,
        Some("none" | "") => false,
        Some(_) => return Err(args.unsupported("pos_embed", "learn, none")),
    };
    let norm = norm(&args)?;
    let patch_norm = norm_layer(&args, "embed_norm_layer")?;
    if patch_norm.is_some_and(|patch_norm| patch_norm != norm) {
        return Err(args.unsupported("embed_norm_layer", "the same as norm_layer"));
    }
    let (norm_order, branches) = block_form(&args)?;
    let heads = args.size("num_heads")?.unwrap_or(12);
    let config = Config {
        width,
        depth: checked_depth(root, args.size("depth")?.unwrap_or(12), files)?,
        heads,
        pool_heads: heads,
        mlp_width: if mlp == Mlp::Packed { inner / 2 } else { inner },
        gated,
        rms_norm: norm.rms,
        epsilon: norm.epsilon,
        norm_order,
        branches,
        // timm passes `act_layer` to gated MLPs too, in place of their own SiLU.
        activation: activation(&args)?,
        prefix_tokens,
        class_token,
        patch_norm: patch_norm.is_some(),
        pre_norm: args.bool("pre_norm")?.unwrap_or(false),
        qk_norm: args.bool("qk_norm")?.unwrap_or(false),
        attention_norm: args.bool("scale_attn_norm")?.unwrap_or(false),
        mlp_norm: args.bool("scale_mlp_norm")?.unwrap_or(false),
        // `ResPostBlock` scales by its norms. All but `ParallelScalingBlock` take 0 for none.
        layer_scale: args.number("init_values")?.is_some_and(|value| value != 0.0 || branches == Branches::Parallel) && norm_order == NormOrder::Pre,
        final_norm: final_norm && !pool_norm,
        pooling,
        pool_norm: final_norm && pool_norm,
        classifiers: classifiers(root, &args, &pretrained, distilled)?,
        ..Config::plain(name, Layout::Timm, Input::Image(patches))
    };
    config.validate(root.path())?;
    if pooling.is_none() && !config.classifiers.is_empty() {
        return Err(args.unsupported("global_pool", "pooling, in models with classes"));
    }
    let mut prefix = Vec::new();
    prefix.extend(class_token.then(|| Part::new("cls_token", &[1, width])));
    prefix.extend(distilled.then(|| Part::new("dist_token", &[1, width])));
    prefix.extend((registers > 0).then(|| Part::new("reg_token", &[registers, width])));
    let positioned = learned && !args.bool("no_embed_class")?.unwrap_or(false);
    let dynamic = args.bool("dynamic_img_size")?.unwrap_or(false);
    // timm resamples the positions for this size too.
    if let Some(refusal) = config.patches().and_then(|patches| patches.grid_refusal(built, patches.whole_grid(built))) {
        return Err(args.error(format!("img_size: {refusal}")));
    }
    let saved = StoredGrid::Saved(saved_grid(root, &pretrained, &config)?);
    let positions = learned.then(|| position_source(&config, built, dynamic, if positioned { prefix_tokens } else { 0 }, saved));
    let [qkv_bias, bias] = [args.bool("qkv_bias")?.unwrap_or(true), args.bool("proj_bias")?.unwrap_or(true)];
    // timm itself drops SigLIP's pool if another pooling is requested.
    let may_stay = |own: &&&str| !(**own == "attn_pool." && name.contains("siglip"));
    let own = OWN.iter().filter(may_stay).map(|own| (*own).to_owned()).collect();
    let layout = blocks::Layout { config: &config, mlp, qkv_bias, bias };
    let weights = weights(&layout, prefix, if positioned { prefix_tokens } else { 0 });
    Ok(Outline { weights, positions: positions.into(), config, text: TextSources::default(), own })
}

/// Gives patches the stem of MobileCLIP, by which they are of its size.
fn with_stem(args: &Object, patches: Patches, width: usize) -> Result<Patches> {
    if args.numbers("stem")?.unwrap_or_default() != stem::WINDOWS.map(|window| window as f64) {
        return Err(args.unsupported("stem", "MobileCLIP's, of convolutions of 4, 2 and 2 pixels"));
    }
    match (patches.size, patches.edge) {
        ([1, 1], Edge::Refuse) => Ok(Patches { size: [stem::PATCH; 2], stem: stem::widths(width), ..patches }),
        ([1, 1], _) => Err(args.unsupported("dynamic_img_pad", "false, in models with a stem")),
        _ => Err(args.unsupported("patch_size", "1, in models with a stem")),
    }
}

/// Reads the class of the blocks.
fn block_form(args: &Object) -> Result<(NormOrder, Branches)> {
    match args.string("block_fn")? {
        None | Some("Block") => Ok((NormOrder::Pre, Branches::Sequential)),
        Some("ResPostBlock") => Ok((NormOrder::ResidualPost, Branches::Sequential)),
        Some("ParallelScalingBlock") => Ok((NormOrder::Pre, Branches::Parallel)),
        Some("ParallelThingsBlock") => Ok((NormOrder::Pre, Branches::Pairs)),
        Some(_) => Err(args.unsupported("block_fn", "Block, ResPostBlock, ParallelScalingBlock, ParallelThingsBlock")),
    }
}

fn pooling(args: &Object, pretrained: &Object, class_token: bool, distilled: bool, prefix_tokens: usize) -> Result<Option<Pooling>> {
    let first = if args.bool("pool_include_prefix")?.unwrap_or(false) { 0 } else { prefix_tokens };
    match args.string("global_pool")?.or(pretrained.string("global_pool")?).unwrap_or("token") {
        "token" if distilled => Ok(Some(Pooling::MeanOfTwo)),
        "token" if class_token => Ok(Some(Pooling::First)),
        "token" => Err(args.error("global_pool = \"token\" needs a class token, but class_token is false")),
        "avg" if !distilled => Ok(Some(Pooling::MeanFrom(first))),
        "max" if !distilled => Ok(Some(Pooling::MaxFrom(first))),
        "avgmax" if !distilled => Ok(Some(Pooling::MeanAndMaxFrom(first))),
        "map" if !distilled => Ok(Some(Pooling::Attention(first))),
        "" if !distilled => Ok(None),
        _ => Err(args.unsupported("global_pool", "token, avg, max, avgmax, map or empty; token for distilled models")),
    }
}

/// Reads the classifiers: none, one, or the two of a distilled model.
fn classifiers(root: &Object, args: &Object, pretrained: &Object, distilled: bool) -> Result<Vec<Classifier>> {
    let classes = match (class_count(args)?, root.has("num_classes")) {
        (Some(classes), _) => classes,
        (None, true) => class_count(root)?.unwrap_or(1000),
        (None, false) => class_count(pretrained)?.unwrap_or(1000),
    };
    if classes == 0 {
        return Ok(Vec::new());
    }
    let names = root.labels("label_names")?.or(pretrained.labels("label_names")?).or(pretrained.labels("labels")?);
    let labels = super::labels(names, classes);
    let classifier =
        |name: &str, reads| Classifier { name: name.to_owned(), reads, classes, labels: labels.clone(), probabilities: Probabilities::Softmax };
    Ok(match distilled {
        false => vec![classifier("", Reads::Features)],
        true => vec![classifier("cls", Reads::Token(0)), classifier("dist", Reads::Token(1))],
    })
}

/// Returns the grid that the weights were saved for, as timm counts it.
fn saved_grid(root: &Object, pretrained: &Object, config: &Config) -> Result<[usize; 2]> {
    let [height, width] = saved_size(root, pretrained)?;
    let [patch_height, patch_width] = config.patches().expect("timm's models take images").size;
    Ok([height / patch_height, width / patch_width])
}

fn position_source(config: &Config, built: [usize; 2], dynamic: bool, prefix: usize, stored: StoredGrid) -> PositionSource {
    let patches = config.patches().expect("timm's models take images");
    // `_create_vision_transformer` resamples two families differently when it loads them.
    let resampling = match config.name.as_str() {
        "vit_base_patch16_radio_v3" | "vit_huge_patch16_radio_v3" => Resampling::BilinearCorners,
        name if name.starts_with("flexivit") || name.contains("radio") => Resampling::Bilinear,
        _ => Resampling::BicubicAntialiased,
    };
    let grid = patches.whole_grid(built);
    PositionSource {
        name: "pos_embed".to_owned(),
        prefix,
        width: config.width,
        grid,
        stored,
        built: dynamic.then_some((grid, resampling)),
        // With a dynamic size, the table is resampled at run time, where all families are treated alike.
        resampling: if dynamic { Resampling::BicubicAntialiased } else { resampling },
    }
}

/// Maps weights to timm's tensor names.
fn weights(layout: &blocks::Layout<'_>, prefix: Vec<Part>, positioned: usize) -> Weights<Source> {
    let config = layout.config;
    let width = config.width;
    let patches = config.patches().expect("timm's models take images");
    let pool = AttentionPool {
        latent: Source::stored("attn_pool.latent", &[1, width]),
        query: Some(linear("attn_pool.q", [width, width], true)),
        key_value: linear("attn_pool.kv", [2 * width, width], true),
        projection: linear("attn_pool.proj", [width, width], true),
        mlp: Some(blocks::pool_mlp(config, "attn_pool", config.mlp_width)),
    };
    let head = |classifier: &Classifier| {
        let name = if classifier.name == "dist" { "head_dist" } else { "head" };
        linear(name, [classifier.classes, width], true)
    };
    let norm = |name: &str| blocks::norm_of(config, name, width);
    let (blocks, beside): (Vec<_>, Vec<_>) = (0..config.depth).map(|i| layout.block(i)).unzip();
    let (stem, patch) = match patches.stem.is_empty() {
        // A norm before the blocks makes the projection's bias redundant.
        true => (Vec::new(), patch_projection("patch_embed.proj", config, patches, !config.pre_norm)),
        false => stem::layers("patch_embed.backbone", patches.channels, width),
    };
    Weights {
        backbone: patches.backbone.as_ref().map(|found| backbone::weights(found, patches.channels)),
        stem,
        patch: Some(patch),
        prefix: Source::prefix(prefix, "pos_embed", positioned, [config.prefix_tokens, width]),
        patch_norm: config.patch_norm.then(|| norm("patch_embed.norm")),
        pre_norm: config.pre_norm.then(|| norm("norm_pre")),
        beside: beside.into_iter().flatten().collect(),
        norm: config.final_norm.then(|| norm("norm")),
        attention_pool: matches!(config.pooling, Some(Pooling::Attention(_))).then_some(pool),
        pool_norm: config.pool_norm.then(|| norm("fc_norm")),
        heads: config.classifiers.iter().map(head).collect(),
        ..Weights::of_blocks(blocks)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every name in the table either runs, or is refused with the name of the unsupported argument.
    #[test]
    fn every_architecture_is_supported_or_refused_by_name() {
        let names = architectures();
        let mut run = Vec::new();
        for name in names.keys() {
            let config = serde_json::json!({ "architecture": name });
            let root = Object::parse(Path::new("config.json"), config.to_string().as_bytes()).expect("an object");
            match interpret(&root, None) {
                Ok(outline) => run.push((name, outline.config)),
                Err(Error::Unsupported { message, .. }) => assert!(message.contains(name) && message.contains("is not supported"), "{message}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
        assert_eq!((names.keys().count(), run.len()), (317, 292));
        let known = |name: &str| &run.iter().find(|(known, _)| *known == name).expect("it is run").1;
        assert_eq!((known("vit_huge_patch14_224").width, known("vit_huge_patch14_224").heads), (1280, 16));
        assert!(
            known("deit3_small_patch16_224").layer_scale
                && known("vit_giant_patch14_dinov2").gated
                && known("deit_base_distilled_patch16_224").is_distilled()
        );
        assert_eq!(known("vit_base_patch16_clip_224").epsilon, 1e-5);
    }
}
