//! Vision towers of CLIP and SigLIP: alone, with a projection or a classifier, or next to a text tower.

use super::{activation, class, classifier, has, patches, prefix};
use crate::data::config::{Activation, Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, packed, patch_projection};
use crate::execution::checkpoint::weights::{AttentionPool, Block, Linear, PoolMlp, Weights};
use crate::execution::checkpoint::{Files, Outline, checked_depth};

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

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let is_clip = root.string("model_type")?.is_some_and(|name| name.starts_with("clip"));
    let classes = if is_clip { CLIP_CLASSES } else { SIGLIP_CLASSES };
    let guess = match () {
        () if has(files, "visual_projection.weight") && is_clip => "CLIPModel",
        () if has(files, "classifier.weight") => classes.last().expect("there are classes").0,
        () => {
            if is_clip {
                "CLIPVisionModel"
            } else {
                "SiglipVisionModel"
            }
        }
    };
    let class = class(root, guess)?;
    let Some(&(_, task)) = classes.iter().find(|(known, _)| *known == class) else {
        let known: Vec<_> = classes.iter().map(|(known, _)| *known).collect();
        return Err(root.unsupported("architectures", &known.join(", ")));
    };
    let vision = root.object("vision_config")?.unwrap_or_else(|| root.clone());
    let front = prefix(files, &["vision_model.", ""], "embeddings.patch_embedding.weight");
    let has_head = !is_clip && task == Task::Pool && vision.bool("vision_use_head")?.unwrap_or(true);
    let width = vision.size("hidden_size")?.unwrap_or(768);
    let patches = patches(&vision, if is_clip { 32 } else { 16 })?;
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
        prefix_tokens,
        class_token: is_clip,
        pre_norm: is_clip,
        final_norm: !is_clip,
        pooling: Some(match task {
            Task::Classify => Pooling::MeanFrom(prefix_tokens),
            Task::Pool if has_head => Pooling::Attention(0),
            Task::Pool | Task::Project => Pooling::First,
        }),
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
        resampling: Resampling::Bicubic,
        built: None,
    };
    Ok(Outline { weights: weights(&config, front, is_clip), positions: Some(positions).into(), config, own: Vec::new() })
}

/// Maps weights to transformers' tensor names.
fn weights(config: &Config, front: &str, is_clip: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    let block = |i: usize| {
        let name = |part: &str| name(&format!("encoder.layers.{i}.{part}"));
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
    };
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
        patch: Some(patch_projection(&name("embeddings.patch_embedding"), config, patches, !is_clip)),
        prefix: Source::prefix(prefix, &name("embeddings.position_embedding.weight"), config.prefix_tokens, [config.prefix_tokens, width]),
        pre_norm: config.pre_norm.then(|| norm(&name("pre_layrnorm"), width)),
        norm: config.final_norm.then(|| norm(&name("post_layernorm"), width)),
        attention_pool: matches!(config.pooling, Some(Pooling::Attention(_))).then(pool),
        pool_norm: config.pool_norm.then(|| norm(&name("post_layernorm"), width)),
        projection: config.projection.map(|size| linear("visual_projection", [size, width], false)),
        heads: config.classifiers.iter().map(|classifier| linear("classifier", [classifier.classes, width], true)).collect(),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}
