//! timm's layout: `config.json` with an architecture's name, `model_args` and `pretrained_cfg`.
//!
//! Source: timm 1.0's `models/_hub.py` (`load_model_config_from_hf`), `models/_builder.py` and
//! `models/vision_transformer.py`.

use super::json::Object;
use super::source::{Source, linear, norm, patch_projection};
use super::weights::{Block, Weights};
use crate::config::{Activation, Config, Crop, CropRounding, Filter, Layout, Pooling, Preprocess, Resize};
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Mean and deviation of ImageNet's training pictures, timm's default.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// What each architecture's name implies, as constructor arguments of timm's `VisionTransformer`.
const ARCHITECTURES: &str = include_str!("timm_architectures.json");

/// Arguments that only matter in training, or that other fields decide.
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

/// Arguments that vitraux runs with one value only, which is also the default.
const FIXED: &[(&str, Value)] = &[
    ("attn_layer", Value::Null),
    ("backbone", Value::Null),
    ("block_fn", Value::Null),
    ("class", Value::Null),
    ("dynamic_img_pad", Value::Bool(false)),
    ("embed_layer", Value::Null),
    ("embed_norm_layer", Value::Null),
    ("mlp_layer", Value::Null),
    ("qk_norm", Value::Bool(false)),
    ("scale_attn_norm", Value::Bool(false)),
    ("scale_mlp_norm", Value::Bool(false)),
];

/// Arguments that [`Timm::read`] interprets.
const KNOWN: &[&str] = &[
    "act_layer",
    "class_token",
    "depth",
    "embed_dim",
    "fc_norm",
    "final_norm",
    "global_pool",
    "img_size",
    "in_chans",
    "init_values",
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
    "qkv_bias",
    "reg_tokens",
];

/// A model that timm's configuration describes.
#[derive(Debug)]
pub struct Timm {
    /// What is computed.
    pub config: Config,
    qkv_bias: bool,
    projection_bias: bool,
    registers: usize,
    class_token: bool,
    /// The grids that the position table is resampled to, one after the other.
    grids: Vec<[usize; 2]>,
}

impl Timm {
    /// Interprets a `config.json` that has an `architecture`.
    pub fn read(root: &Object) -> Result<Timm> {
        let name = root.string("architecture")?.ok_or_else(|| root.wrong("architecture", "a name"))?;
        let pretrained = pretrained(root)?;
        let args = arguments(root, name)?;
        check_known(&args)?;
        let classes = match (class_count(&args)?, root.has("num_classes")) {
            (Some(classes), _) => classes,
            (None, true) => class_count(root)?.unwrap_or(1000),
            (None, false) => class_count(&pretrained)?.unwrap_or(1000),
        };
        let input = input_size(&pretrained)?;
        let patch = args.pair("patch_size")?.unwrap_or([16, 16]);
        let (image, built) = image_sizes(root, &args, &pretrained)?;
        let width = args.size("embed_dim")?.unwrap_or(768);
        let mlp_ratio = args.number("mlp_ratio")?.unwrap_or(4.0);
        let mlp_width = (width as f64 * mlp_ratio) as usize;
        if !(1..=1 << 20).contains(&mlp_width) {
            return Err(args.wrong("mlp_ratio", "a factor that gives a width from 1 to 1048576"));
        }
        let class_token = args.bool("class_token")?.unwrap_or(true);
        let registers = args.count("reg_tokens")?.unwrap_or(0);
        let prefix_tokens = registers + usize::from(class_token);
        let pooled = args.string("global_pool")?.or(pretrained.string("global_pool")?).unwrap_or("token");
        let pooling = match pooled {
            "token" if class_token => Pooling::First,
            "token" => return Err(args.error("global_pool = \"token\" needs a class token, but class_token is false")),
            "avg" if args.bool("pool_include_prefix")?.unwrap_or(false) => Pooling::MeanFrom(0),
            "avg" => Pooling::MeanFrom(prefix_tokens),
            _ => return Err(args.unsupported("global_pool", "token, avg")),
        };
        // timm's null stands for its default: where the mean is taken, the norm comes after it.
        let pool_norm = args.bool("fc_norm")?.unwrap_or(pooling != Pooling::First);
        let final_norm = args.bool("final_norm")?.unwrap_or(true);
        if !matches!(args.string("pos_embed")?, None | Some("learn")) {
            return Err(args.unsupported("pos_embed", "learn"));
        }
        let config = Config {
            name: name.to_owned(),
            layout: Layout::Timm,
            channels: args.size("in_chans")?.unwrap_or(input.map_or(3, |input| input[0])),
            image,
            patch,
            width,
            depth: args.size("depth")?.unwrap_or(12),
            heads: args.size("num_heads")?.unwrap_or(12),
            mlp_width,
            epsilon: epsilon(&args)?,
            activation: activation(&args)?,
            prefix_tokens,
            prefix_positions: if args.bool("no_embed_class")?.unwrap_or(false) { 0 } else { prefix_tokens },
            pre_norm: args.bool("pre_norm")?.unwrap_or(false),
            layer_scale: args.number("init_values")?.is_some(),
            final_norm: final_norm && !pool_norm,
            pooling,
            pool_norm: final_norm && pool_norm,
            pooler: None,
            classes,
            labels: super::labels(root.labels("label_names")?.or(pretrained.labels("label_names")?).or(pretrained.labels("labels")?), classes),
        };
        config.validate(root.path())?;
        let grid = |image: [usize; 2]| [image[0] / patch[0], image[1] / patch[1]];
        let grids = if built == image { vec![grid(image)] } else { vec![grid(built), grid(image)] };
        Ok(Timm {
            qkv_bias: args.bool("qkv_bias")?.unwrap_or(true),
            projection_bias: args.bool("proj_bias")?.unwrap_or(true),
            registers,
            class_token,
            grids,
            config,
        })
    }

    /// timm's names for the weights.
    pub fn weights(&self) -> Weights<Source> {
        let config = &self.config;
        let (width, mlp_width) = (config.width, config.mlp_width);
        let block = |i: usize| {
            let name = |part: &str| format!("blocks.{i}.{part}");
            let scale = |part: &str| config.layer_scale.then(|| Source::stored(name(part), &[width]));
            Block {
                norm1: norm(&name("norm1"), width),
                qkv: linear(&name("attn.qkv"), [3 * width, width], self.qkv_bias),
                projection: linear(&name("attn.proj"), [width, width], self.projection_bias),
                scale1: scale("ls1.gamma"),
                norm2: norm(&name("norm2"), width),
                mlp1: linear(&name("mlp.fc1"), [mlp_width, width], true),
                mlp2: linear(&name("mlp.fc2"), [width, mlp_width], true),
                scale2: scale("ls2.gamma"),
            }
        };
        let (name, rows) = ("pos_embed".to_owned(), config.prefix_positions);
        // timm resamples the tables of FlexiViT in a way of their own, so only the stored grid will do.
        let position = match config.name.starts_with("flexivit") {
            true => Source::stored(name, &[rows + config.patches(), width]),
            false => Source::Positions { name, prefix: rows, width, grids: self.grids.clone() },
        };
        let mut prefix = Vec::new();
        prefix.extend(self.class_token.then(|| ("cls_token".to_owned(), vec![1, width])));
        prefix.extend((self.registers > 0).then(|| ("reg_token".to_owned(), vec![self.registers, width])));
        Weights {
            // A norm in front of the blocks makes the projection's bias superfluous.
            patch: patch_projection("patch_embed.proj", config, !config.pre_norm),
            prefix: match prefix.is_empty() {
                true => Source::Zeros { shape: vec![1, width] },
                false => Source::Stored { parts: prefix, shape: vec![config.prefix_tokens, width] },
            },
            position,
            pre_norm: config.pre_norm.then(|| norm("norm_pre", width)),
            blocks: (0..config.depth).map(block).collect(),
            norm: config.final_norm.then(|| norm("norm", width)),
            pool_norm: config.pool_norm.then(|| norm("fc_norm", width)),
            pooler: None,
            head: (config.classes > 0).then(|| linear("head", [config.classes, width], true)),
        }
    }
}

/// `pretrained_cfg`, or the root where an old file keeps its fields.
fn pretrained(root: &Object) -> Result<Object> {
    Ok(root.object("pretrained_cfg")?.unwrap_or_else(|| root.clone()))
}

/// The constructor's arguments: those that the name implies, under those of `model_args`.
fn arguments(root: &Object, name: &str) -> Result<Object> {
    let all = Object::parse(Path::new("timm_architectures.json"), ARCHITECTURES.as_bytes())?;
    let Some(implied) = all.object(name)? else {
        return Err(Error::unsupported(
            root.path(),
            format!(
                "architecture {name:?} is not one that vitraux knows; supported: timm's Vision Transformers (vit_*, deit_*, deit3_*, eva_large_*)"
            ),
        ));
    };
    let args = match root.object("model_args")? {
        Some(args) => implied.overlaid(&args),
        None => implied,
    };
    Ok(args.located(root.path(), &format!("architecture {name}: ")))
}

/// Refuses arguments that change what is computed in a way that vitraux does not run.
fn check_known(args: &Object) -> Result<()> {
    if let Some(unknown) = args
        .keys()
        .find(|key| args.get(key).is_some() && !KNOWN.contains(key) && !IGNORED.contains(key) && FIXED.iter().all(|(fixed, _)| fixed != key))
    {
        return Err(args.unsupported(unknown, "timm's arguments of plain Vision Transformers"));
    }
    for (key, value) in FIXED {
        if args.get(key).is_some_and(|found| found != value) {
            return Err(args.unsupported(key, "timm's plain Vision Transformers, without it"));
        }
    }
    Ok(())
}

/// Channels, height and width of `input_size`.
fn input_size(pretrained: &Object) -> Result<Option<[usize; 3]>> {
    let Some(sizes) = pretrained.numbers("input_size")? else { return Ok(None) };
    match sizes[..] {
        [channels, height, width] if sizes.iter().all(|size| size.fract() == 0.0 && (1.0..=1048576.0).contains(size)) => {
            Ok(Some([channels as usize, height as usize, width as usize]))
        }
        _ => Err(pretrained.wrong("input_size", "[channels, height, width]")),
    }
}

/// A number of classes; -1 stands for timm's default.
fn class_count(object: &Object) -> Result<Option<usize>> {
    match object.get("num_classes").and_then(Value::as_i64) {
        Some(-1) => Ok(None),
        _ => object.count("num_classes"),
    }
}

/// Whether timm takes the size of the pictures for the model's. Where the file itself asks for a dynamic
/// size, timm forgets that the size was fixed.
fn has_fixed_size(root: &Object, pretrained: &Object) -> Result<bool> {
    let asked = root.object("model_args")?.is_some_and(|own| own.has("dynamic_img_size"));
    Ok(pretrained.bool("fixed_input_size")?.unwrap_or(false) && !asked)
}

/// The size that the model runs at, and the size that timm builds it for: they differ where the size
/// is dynamic, and then timm resamples the position table twice.
fn image_sizes(root: &Object, args: &Object, pretrained: &Object) -> Result<([usize; 2], [usize; 2])> {
    let (own, fixed) = (args.pair("img_size")?, has_fixed_size(root, pretrained)?);
    let input = input_size(pretrained)?.map(|[_, height, width]| [height, width]);
    if args.bool("dynamic_img_size")?.unwrap_or(false) {
        let built = own.or(input.filter(|_| fixed)).unwrap_or([224, 224]);
        return Ok((input.unwrap_or(built), built));
    }
    let image = own.or(input).unwrap_or([224, 224]);
    Ok((image, image))
}

fn epsilon(args: &Object) -> Result<f32> {
    let plain = |name: &str| name.eq_ignore_ascii_case("layernorm");
    match args.get("norm_layer") {
        None => Ok(1e-6),
        Some(Value::String(name)) if plain(name) => Ok(1e-6),
        Some(Value::Object(norm)) if norm.get("fn").and_then(Value::as_str).is_some_and(plain) => {
            norm.get("eps").and_then(Value::as_f64).map(|epsilon| epsilon as f32).ok_or_else(|| args.wrong("norm_layer", "an epsilon"))
        }
        Some(_) => Err(args.unsupported("norm_layer", "LayerNorm")),
    }
}

fn activation(args: &Object) -> Result<Activation> {
    match args.string("act_layer")?.map(str::to_lowercase).as_deref() {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_tanh") => Ok(Activation::GeluTanh),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("relu") => Ok(Activation::Relu),
        Some(_) => Err(args.unsupported("act_layer", "gelu, gelu_tanh, quick_gelu, relu")),
    }
}

/// The mean as 8-bit levels, from the numbers as they are written: 255 * 0.3 must not become 76.500003.
fn border_fill(pretrained: &Object) -> Result<[u8; 3]> {
    let mean = pretrained.numbers("mean")?.unwrap_or(IMAGENET_MEAN.to_vec());
    Ok(std::array::from_fn(|i| (255.0 * mean[i.min(mean.len() - 1)]).round_ties_even() as u8))
}

/// How timm prepares pictures for evaluation (`create_transform` with `pretrained_cfg`).
pub fn preprocess(root: &Object) -> Result<Preprocess> {
    let pretrained = pretrained(root)?;
    // What the file says of the model itself comes before what it says of the pictures.
    let own = root.object("model_args")?;
    let own_channels = own.as_ref().map_or(Ok(None), |own| own.size("in_chans"))?;
    let own_image = own.as_ref().map_or(Ok(None), |own| own.pair("img_size"))?;
    let input = input_size(&pretrained)?;
    let fixed = has_fixed_size(root, &pretrained)?;
    let channels = own_channels.or(input.map(|input| input[0])).unwrap_or(3);
    let [height, width] = match (input, own_image) {
        (Some([_, height, width]), own) => own.filter(|_| fixed).unwrap_or([height, width]),
        (None, own) => own.unwrap_or([224, 224]),
    };
    let crop_pct = pretrained.number("crop_pct")?.unwrap_or(0.875);
    if !(0.01..=16.0).contains(&crop_pct) {
        return Err(pretrained.wrong("crop_pct", "a factor from 0.01 to 16"));
    }
    let filter = match pretrained.string("interpolation")?.unwrap_or("bicubic") {
        "nearest" => Filter::Nearest,
        "box" => Filter::Box,
        "bilinear" => Filter::Bilinear,
        "hamming" => Filter::Hamming,
        "bicubic" => Filter::Bicubic,
        "lanczos" => Filter::Lanczos,
        _ => return Err(pretrained.unsupported("interpolation", "nearest, box, bilinear, hamming, bicubic, lanczos")),
    };
    let mean = super::channel_values(&pretrained, "mean", channels, IMAGENET_MEAN)?;
    let std = super::channel_values(&pretrained, "std", channels, IMAGENET_STD)?;
    let scaled = [height, width].map(|size| (size as f64 / crop_pct).floor() as usize);
    if scaled.contains(&0) {
        return Err(pretrained.wrong("crop_pct", "a factor that leaves a pixel of the input size"));
    }
    let (resize, fill) = match pretrained.string("crop_mode")?.unwrap_or("center") {
        "squash" => (Resize::Exact(scaled), [0; 3]),
        "border" => (Resize::Fit(scaled), border_fill(&pretrained)?),
        "center" if scaled[0] == scaled[1] => (Resize::ShortestEdge(scaled[0]), [0; 3]),
        "center" => (Resize::Cover(scaled), [0; 3]),
        _ => return Err(pretrained.unsupported("crop_mode", "center, squash, border")),
    };
    let crop = Some(Crop { size: [height, width], rounding: CropRounding::HalfEven, fill });
    Ok(Preprocess { channels, resize, filter, crop, scale: 1.0 / 255.0, mean, std })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name of the table is either run, or refused with the argument that vitraux does not run.
    #[test]
    fn every_architecture_is_run_or_refused_by_name() {
        let names = Object::parse(Path::new("timm_architectures.json"), ARCHITECTURES.as_bytes()).expect("a valid table");
        let mut run = Vec::new();
        for name in names.keys() {
            let config = serde_json::json!({ "architecture": name });
            let root = Object::parse(Path::new("config.json"), config.to_string().as_bytes()).expect("an object");
            match Timm::read(&root) {
                Ok(timm) => run.push((name, timm.config)),
                Err(Error::Unsupported { message, .. }) => assert!(message.contains(name) && message.contains("is not supported"), "{message}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
        assert_eq!((names.keys().count(), run.len()), (193, 127));
        let known = |name: &str| &run.iter().find(|(known, _)| *known == name).expect("it is run").1;
        assert_eq!((known("vit_huge_patch14_224").width, known("vit_huge_patch14_224").heads), (1280, 16));
        assert_eq!((known("deit3_small_patch16_224").prefix_positions, known("deit3_small_patch16_224").layer_scale), (0, true));
        assert_eq!(known("vit_base_patch16_clip_224").epsilon, 1e-5);
    }
}
