//! Vision towers of CLIP and SigLIP: alone, with a projection or a classifier, or next to a text tower.

use super::{activation, class, classifier, has, patches, prefix, text};
use crate::data::config::{Activation, Config, Input, Layout, Patches, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{AttentionPool, Block, Linear, PoolMlp, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Task of the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Pooled vector.
    Pool,
    /// Pooled vector, projected into the space shared with text.
    Project,
    /// Class scores, from the mean of the tokens.
    Classify,
}

const CLIP_CLASSES: &[(&str, Task)] = &[
    ("CLIPModel", Task::Project),
    ("CLIPVisionModelWithProjection", Task::Project),
    ("CLIPVisionModel", Task::Pool),
    ("CLIPForImageClassification", Task::Classify),
];
const SIGLIP_CLASSES: &[(&str, Task)] =
    &[("SiglipModel", Task::Pool), ("SiglipVisionModel", Task::Pool), ("SiglipForImageClassification", Task::Classify)];
const SIGLIP2_CLASSES: &[(&str, Task)] =
    &[("Siglip2Model", Task::Pool), ("Siglip2VisionModel", Task::Pool), ("Siglip2ForImageClassification", Task::Classify)];

/// Classes with a text tower.
const JOINT: &[&str] = &["CLIPModel", "SiglipModel", "Siglip2Model"];

/// Classes that transformers builds from a `CLIPConfig`, which is that of both towers.
const OF_CLIP_CONFIG: &[&str] = &["CLIPModel", "CLIPForImageClassification"];

/// Returns the configuration of a tower, `vision_config` or `text_config`. In a `CLIPConfig`, the `*_config_dict` of old files replaces it: fields that
/// the latter does not state are the defaults, whatever the former says.
pub fn tower_config(root: &Object, class: &str, key: &str) -> Result<Option<Object>> {
    let old = if OF_CLIP_CONFIG.contains(&class) { root.object(&format!("{key}_dict"))? } else { None };
    match old {
        Some(old) => Ok(Some(old)),
        None => root.object(key),
    }
}

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let (classes, is_clip) = match root.string("model_type")?.unwrap_or_default() {
        "clip" | "clip_vision_model" => (CLIP_CLASSES, true),
        "siglip2" | "siglip2_vision_model" => (SIGLIP2_CLASSES, false),
        _ => (SIGLIP_CLASSES, false),
    };
    // Patches of SigLIP 2 are flattened with the channels last.
    let native_grids = classes == SIGLIP2_CLASSES;
    let guess = match () {
        () if has(files, "visual_projection.weight") && is_clip => "CLIPModel",
        () if has(files, "classifier.weight") => classes.last().expect("there are classes").0,
        () if is_clip => "CLIPVisionModel",
        () => classes[1].0,
    };
    let class = class(root, guess)?;
    let Some(&(_, task)) = classes.iter().find(|(known, _)| *known == class) else {
        let known: Vec<_> = classes.iter().map(|(known, _)| *known).collect();
        return Err(root.unsupported("architectures", &known.join(", ")));
    };
    let vision = tower_config(root, class, "vision_config")?.unwrap_or_else(|| root.clone());
    let front = prefix(files, &["vision_model.", ""], "embeddings.patch_embedding.weight");
    let has_head = !is_clip && task == Task::Pool && vision.bool("vision_use_head")?.unwrap_or(true);
    let is_joint = JOINT.contains(&class);
    if is_joint && !is_clip && !has_head {
        return Err(vision.unsupported("vision_use_head", "true, in models of images and texts, which compare the head's vectors"));
    }
    let width = vision.size("hidden_size")?.unwrap_or(768);
    let mut patches = patches(&vision, if is_clip { 32 } else { 16 })?;
    if native_grids {
        // The table is for a square.
        let side = vision.size("num_patches")?.unwrap_or(256).isqrt();
        patches.image = patches.size.map(|size| side * size);
    }
    let grid = patches.whole_grid(patches.image);
    let (default_activation, default_epsilon) = if is_clip { (Activation::QuickGelu, 1e-5) } else { (Activation::GeluTanh, 1e-6) };
    let prefix_tokens = usize::from(is_clip);
    let heads = vision.size("num_attention_heads")?.unwrap_or(12);
    let config = Config {
        width,
        depth: checked_depth(root, vision.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads,
        pool_heads: heads,
        mlp_width: vision.size("intermediate_size")?.unwrap_or(3072),
        epsilon: vision.number("layer_norm_eps")?.unwrap_or(default_epsilon) as f32,
        activation: activation(&vision, "hidden_act")?.unwrap_or(default_activation),
        native_grids,
        joint: is_joint,
        prefix_tokens,
        class_token: is_clip,
        pre_norm: is_clip,
        final_norm: !is_clip,
        pooling: match task {
            Task::Classify => Some(Pooling::MeanFrom(prefix_tokens)),
            Task::Pool if has_head => Some(Pooling::Attention(0)),
            // Nothing but the head pools the tokens of SigLIP, and none of them is a class token.
            Task::Pool if !is_clip => None,
            Task::Pool | Task::Project => Some(Pooling::First),
        },
        pool_norm: is_clip && task != Task::Classify,
        projection: if task == Task::Project { Some(root.size("projection_dim")?.unwrap_or(512)) } else { None },
        classifiers: if task == Task::Classify { classifier(root)? } else { Vec::new() },
        ..Config::plain(class, Layout::Transformers, Input::Image(patches))
    };
    config.validate(root.path())?;
    let positions = PositionSource {
        name: format!("{front}embeddings.position_embedding.weight"),
        prefix: prefix_tokens,
        width,
        grid,
        stored: StoredGrid::SquareElsewhere,
        resampling: if native_grids { Resampling::BilinearAntialiased } else { Resampling::Bicubic },
        built: None,
    };
    let mut text = TextSources::default();
    if is_joint {
        text.similarity = Some((Part::new("logit_scale", &[1]), (!is_clip).then(|| Part::new("logit_bias", &[1]))));
        let of_text = tower_config(root, class, "text_config")?.map_or_else(|| Object::parse(root.path(), b"{}"), Ok)?;
        text.tower = Some(Box::new(text::tower(&of_text, files, is_clip, config.projection)?));
    }
    Ok(Outline { weights: weights(&config, front, is_clip), positions: Some(positions).into(), config, text, own: Vec::new() })
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, is_clip: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    // torch's MultiheadAttention packs query, key and value into one matrix; the query comes from the probe alone.
    let rows = |from: usize, to: usize| {
        let part = |kind: &str, shape: &[usize]| Part::of_rows(name(&format!("head.attention.in_proj_{kind}")), shape, from * width..to * width);
        Linear {
            weight: Source::of(vec![part("weight", &[3 * width, width])], &[(to - from) * width, width]),
            bias: Source::of(vec![part("bias", &[3 * width])], &[(to - from) * width]),
        }
    };
    let pool = || AttentionPool {
        latent: Source::stored(name("head.probe"), &[1, width]),
        query: Some(rows(0, 1)),
        key_value: rows(1, 3),
        projection: linear(&name("head.attention.out_proj"), [width, width], true),
        mlp: Some(PoolMlp {
            norm: norm(&name("head.layernorm"), width),
            linear1: linear(&name("head.mlp.fc1"), [mlp_width, width], true),
            linear2: linear(&name("head.mlp.fc2"), [width, mlp_width], true),
        }),
    };
    let prefix = if is_clip { vec![Part::new(name("embeddings.class_embedding"), &[1, width])] } else { Vec::new() };
    let patches = config.patches().expect("it takes images");
    Weights {
        patch: Some(match config.native_grids {
            false => patch_projection(&name("embeddings.patch_embedding"), config, patches, !is_clip),
            true => flat_projection(&name("embeddings.patch_embedding"), config, patches),
        }),
        prefix: Source::prefix(prefix, &name("embeddings.position_embedding.weight"), config.prefix_tokens, [config.prefix_tokens, width]),
        pre_norm: config.pre_norm.then(|| norm(&name("pre_layrnorm"), width)),
        norm: config.final_norm.then(|| norm(&name("post_layernorm"), width)),
        attention_pool: matches!(config.pooling, Some(Pooling::Attention(_))).then(pool),
        pool_norm: config.pool_norm.then(|| norm(&name("post_layernorm"), width)),
        projection: config.projection.map(|size| linear("visual_projection", [size, width], false)),
        heads: config.classifiers.iter().map(|classifier| linear("classifier", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(|i| block(config, front, i)).collect())
    }
}

/// Projection of patches flattened with the channels last, `[C, height, width, channels]`, for patches with the channels first.
fn flat_projection(name: &str, config: &Config, patches: &Patches) -> Linear<Source> {
    let ([height, width], channels) = (patches.size, patches.channels);
    let part = Part::of_flat(format!("{name}.weight"), &[config.width, patches.values()], [config.width, height, width, channels], &[0, 3, 1, 2]);
    Linear { weight: Source::of(vec![part], &[config.width, patches.values()]), bias: Source::stored(format!("{name}.bias"), &[config.width]) }
}

/// Returns encoder block i of a tower of CLIP or SigLIP.
pub fn block(config: &Config, front: &str, i: usize) -> Block<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}encoder.layers.{i}.{part}");
    let qkv = ["q", "k", "v"].map(|which| name(&format!("self_attn.{which}_proj")));
    Block {
        norm1: norm(&name("layer_norm1"), width),
        qkv: packed(&qkv.each_ref().map(String::as_str), [width, width], &[true; 3]),
        qk_norm: None,
        attention_norm: None,
        projection: linear(&name("self_attn.out_proj"), [width, width], true),
        scale1: None,
        norm2: Some(norm(&name("layer_norm2"), width)),
        mlp1: linear(&name("mlp.fc1"), [mlp_width, width], true),
        mlp_norm: None,
        mlp2: linear(&name("mlp.fc2"), [width, mlp_width], true),
        scale2: None,
    }
}
