//! transformers' layout: `config.json` with a `model_type`, and `preprocessor_config.json`.
//!
//! Source: transformers 5's `models/vit` and `image_processing_utils.py`; the defaults are those of
//! `ViTConfig` and of the image processors' classes.

use super::files::Files;
use super::json::Object;
use super::source::{Source, linear, norm, patch_projection};
use super::weights::{Block, Weights};
use crate::config::{Activation, Config, Crop, CropRounding, Filter, Layout, Pooler, Pooling, Preprocess, Resize};
use crate::error::Result;

/// The `model_type`s that are read.
pub const MODEL_TYPES: &[&str] = &["vit", "vit_mae"];

/// A model that transformers' configuration describes.
#[derive(Debug)]
pub struct Transformers {
    /// What is computed.
    pub config: Config,
    qkv_bias: bool,
    /// What the encoder's tensor names begin with: `vit.` in a classifier, nothing in a bare encoder.
    prefix: &'static str,
}

impl Transformers {
    /// Interprets a `config.json` with one of [`MODEL_TYPES`]; whether there is a pooler only the tensors tell.
    pub fn read(root: &Object, files: &Files) -> Result<Transformers> {
        let class = match root.get("architectures").filter(|list| list.as_array().is_none_or(|list| !list.is_empty())) {
            None if files.has("classifier.weight") => "ViTForImageClassification",
            None => "ViTModel",
            Some(list) => list.get(0).and_then(|name| name.as_str()).ok_or_else(|| root.wrong("architectures", "a list of class names"))?,
        };
        let (prefix, classifies) = match class {
            "ViTForImageClassification" => ("vit.", true),
            "ViTModel" | "ViTMAEModel" => ("", false),
            // The decoder only serves pre-training; all patches are kept, in order.
            "ViTMAEForPreTraining" => ("vit.", false),
            _ => return Err(root.unsupported("architectures", "ViTForImageClassification, ViTModel, ViTMAEModel, ViTMAEForPreTraining")),
        };
        let names = root.labels("id2label")?;
        let classes = match (classifies, &names) {
            (false, _) => 0,
            (true, Some(names)) => names.len(),
            (true, None) => root.count("num_labels")?.unwrap_or(2),
        };
        // What transformers makes up where the file names no classes.
        let names = names.unwrap_or_else(|| (0..classes).map(|index| format!("LABEL_{index}")).collect());
        let width = root.size("hidden_size")?.unwrap_or(768);
        let pooler = match !classifies && files.has("pooler.dense.weight") {
            false => None,
            true => Some(Pooler {
                width: root.size("pooler_output_size")?.unwrap_or(width),
                activation: activation(root, "pooler_act")?.unwrap_or(Activation::Tanh),
            }),
        };
        let config = Config {
            name: class.to_owned(),
            layout: Layout::Transformers,
            channels: root.size("num_channels")?.unwrap_or(3),
            image: root.pair("image_size")?.unwrap_or([224, 224]),
            patch: root.pair("patch_size")?.unwrap_or([16, 16]),
            width,
            depth: root.size("num_hidden_layers")?.unwrap_or(12),
            heads: root.size("num_attention_heads")?.unwrap_or(12),
            mlp_width: root.size("intermediate_size")?.unwrap_or(3072),
            epsilon: root.number("layer_norm_eps")?.unwrap_or(1e-12) as f32,
            activation: activation(root, "hidden_act")?.unwrap_or(Activation::Gelu),
            prefix_tokens: 1,
            prefix_positions: 1,
            pre_norm: false,
            layer_scale: false,
            final_norm: true,
            pooling: Pooling::First,
            pool_norm: false,
            pooler,
            classes,
            labels: super::labels(Some(names), classes),
        };
        config.validate(root.path())?;
        Ok(Transformers { config, qkv_bias: root.bool("qkv_bias")?.unwrap_or(true), prefix })
    }

    /// transformers' names for the weights.
    pub fn weights(&self) -> Weights<Source> {
        let config = &self.config;
        let (width, mlp_width) = (config.width, config.mlp_width);
        let name = |part: &str| format!("{}{part}", self.prefix);
        let block = |i: usize| {
            let name = |part: &str| name(&format!("encoder.layer.{i}.{part}"));
            let packed = |part: &str, shape: &[usize]| Source::Stored {
                parts: ["query", "key", "value"].map(|which| (name(&format!("attention.attention.{which}.{part}")), shape.to_vec())).to_vec(),
                shape: [&[3 * shape[0]], &shape[1..]].concat(),
            };
            let bias = if self.qkv_bias { packed("bias", &[width]) } else { Source::Zeros { shape: vec![3 * width] } };
            Block {
                norm1: norm(&name("layernorm_before"), width),
                qkv: super::weights::Linear { weight: packed("weight", &[width, width]), bias },
                projection: linear(&name("attention.output.dense"), [width, width], true),
                scale1: None,
                norm2: norm(&name("layernorm_after"), width),
                mlp1: linear(&name("intermediate.dense"), [mlp_width, width], true),
                mlp2: linear(&name("output.dense"), [width, mlp_width], true),
                scale2: None,
            }
        };
        Weights {
            patch: patch_projection(&name("embeddings.patch_embeddings.projection"), config, true),
            prefix: Source::stored(name("embeddings.cls_token"), &[1, width]),
            position: Source::stored(name("embeddings.position_embeddings"), &[config.tokens(), width]),
            pre_norm: None,
            blocks: (0..config.depth).map(block).collect(),
            norm: Some(norm(&name("layernorm"), width)),
            pool_norm: None,
            pooler: config.pooler.map(|pooler| linear(&name("pooler.dense"), [pooler.width, width], true)),
            head: (config.classes > 0).then(|| linear("classifier", [config.classes, width], true)),
        }
    }
}

fn activation(root: &Object, key: &str) -> Result<Option<Activation>> {
    match root.string(key)? {
        None => Ok(None),
        Some("gelu" | "gelu_python") => Ok(Some(Activation::Gelu)),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate") => Ok(Some(Activation::GeluTanh)),
        Some("quick_gelu") => Ok(Some(Activation::QuickGelu)),
        Some("relu") => Ok(Some(Activation::Relu)),
        Some("tanh") => Ok(Some(Activation::Tanh)),
        Some(_) => Err(root.unsupported(key, "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, tanh")),
    }
}

/// What an image processor's class does where its file is silent.
struct Processor {
    resample: usize,
    size: Size,
    /// Whether a single number means a square, rather than the shortest edge.
    number_is_square: bool,
    crops: bool,
    mean: [f64; 3],
    std: [f64; 3],
}

enum Size {
    Square(usize),
    ShortestEdge(usize),
}

const HALF: [f64; 3] = [0.5; 3];
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// The default processor of a class, by its name without `ImageProcessor` or `FeatureExtractor`.
fn processor(name: &str) -> Option<Processor> {
    let (resample, size, number_is_square, crops, mean, std) = match name {
        "ViT" => (2, Size::Square(224), true, false, HALF, HALF),
        "DeiT" => (3, Size::Square(256), true, true, HALF, HALF),
        "Siglip" => (3, Size::Square(224), false, false, HALF, HALF),
        "CLIP" | "Bit" => (3, Size::ShortestEdge(224), false, true, CLIP_MEAN, CLIP_STD),
        _ => return None,
    };
    Some(Processor { resample, size, number_is_square, crops, mean, std })
}

/// How a transformers image processor prepares pictures (its Pillow backend). Without a
/// `preprocessor_config.json`, as a `ViTImageProcessor` of the model's size does by default.
pub fn preprocess(root: &Object, file: Option<Object>) -> Result<Preprocess> {
    let channels = root.size("num_channels")?.unwrap_or(3);
    let Some(file) = file else {
        let size = root.pair("image_size")?.unwrap_or([224, 224]);
        let (mean, std) = (vec![0.5; channels], vec![0.5; channels]);
        return Ok(Preprocess { channels, resize: Resize::Exact(size), filter: Filter::Bilinear, crop: None, scale: 1.0 / 255.0, mean, std });
    };
    let key = if file.has("image_processor_type") { "image_processor_type" } else { "feature_extractor_type" };
    let class = file.string(key)?.unwrap_or("ViTImageProcessor");
    let stem = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"].iter().find_map(|ending| class.strip_suffix(ending));
    let defaults = stem.and_then(processor).ok_or_else(|| file.unsupported(key, "ViT, DeiT, CLIP, Siglip and Bit image processors"))?;
    if file.bool("do_pad")? == Some(true) {
        return Err(file.unsupported("do_pad", "false"));
    }
    // A null switches a step off; an absent field has the class's default.
    let enabled = |step: &str, default: bool| Ok(file.bool(step)?.unwrap_or(default && !file.has(step)));
    let filter = match file.count("resample")?.unwrap_or(defaults.resample) {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        4 => Filter::Box,
        5 => Filter::Hamming,
        _ => return Err(file.unsupported("resample", "0 to 5, Pillow's numbers")),
    };
    let resize = if enabled("do_resize", true)? { resize(&file, &defaults)? } else { Resize::Keep };
    let crop = match enabled("do_center_crop", defaults.crops)? {
        false => None,
        true => Some(Crop { size: pair(&file, "crop_size")?.unwrap_or([224, 224]), rounding: CropRounding::Down, fill: [0; 3] }),
    };
    let scale = if enabled("do_rescale", true)? { file.number("rescale_factor")?.unwrap_or(1.0 / 255.0) } else { 1.0 };
    let (mean, std) = match enabled("do_normalize", true)? {
        false => (vec![0.0; channels], vec![1.0; channels]),
        true => {
            (super::channel_values(&file, "image_mean", channels, defaults.mean)?, super::channel_values(&file, "image_std", channels, defaults.std)?)
        }
    };
    Ok(Preprocess { channels, resize, filter, crop, scale, mean, std })
}

/// A height and a width as a number, as two, or as an object.
fn pair(file: &Object, key: &str) -> Result<Option<[usize; 2]>> {
    if !file.get(key).is_some_and(|value| value.is_object()) {
        return file.pair(key);
    }
    let object = file.object(key)?.expect("it is an object");
    match (object.size("height")?, object.size("width")?) {
        (Some(height), Some(width)) => Ok(Some([height, width])),
        _ => Err(file.wrong(key, "height and width")),
    }
}

fn resize(file: &Object, defaults: &Processor) -> Result<Resize> {
    let number_is_square = file.bool("default_to_square")?.unwrap_or(defaults.number_is_square);
    match file.get("size") {
        None => Ok(match defaults.size {
            Size::Square(side) => Resize::Exact([side, side]),
            Size::ShortestEdge(edge) => Resize::ShortestEdge(edge),
        }),
        Some(value) if value.is_number() && !number_is_square => Ok(Resize::ShortestEdge(file.pair("size")?.expect("a number")[0])),
        Some(value) if value.is_object() => {
            let object = file.object("size")?.expect("it is an object");
            match (object.size("shortest_edge")?, object.get("longest_edge")) {
                (Some(edge), None) => Ok(Resize::ShortestEdge(edge)),
                (_, Some(_)) => Err(file.unsupported("size", "height and width, or shortest_edge")),
                (None, None) => Ok(Resize::Exact(pair(file, "size")?.expect("an object"))),
            }
        }
        Some(_) => Ok(Resize::Exact(file.pair("size")?.expect("there is a size"))),
    }
}
