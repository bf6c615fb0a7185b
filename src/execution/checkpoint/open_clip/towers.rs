//! open_clip's own `VisionTransformer`, and the blocks and projections of both towers.

use super::{activation, epsilon, mlp_width};
use crate::data::config::{Config, Edge, Input, Layout, Patches, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::position::Resampling;
use crate::execution::checkpoint::source::{Part, PositionSource, Source, StoredGrid, linear, norm, patch_projection};
use crate::execution::checkpoint::weights::{Block, Linear, Weights};
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Reads the image tower. `size` is the width of the vectors, P.
pub fn vision(model: &Object, vision: &Object, size: usize, files: Option<&Files>) -> Result<Outline> {
    let width = vision.size("width")?.unwrap_or(768);
    let head_width = vision.size("head_width")?.unwrap_or(64);
    if vision.get("layers").is_some_and(serde_json::Value::is_array) {
        return Err(vision.unsupported("layers", "the number of blocks of a Vision Transformer"));
    }
    let image = vision.pair("image_size")?.unwrap_or([224, 224]);
    let patches = Patches::new(3, image, vision.pair("patch_size")?.unwrap_or([16, 16]), Edge::Ignore);
    let grid = patches.whole_grid(patches.image);
    let pooled_first = vision.bool("final_ln_after_pool")?.unwrap_or(false);
    let config = Config {
        width,
        depth: checked_depth(vision, vision.size("layers")?.unwrap_or(12), files)?,
        heads: (width / head_width).max(1),
        mlp_width: mlp_width(vision, width)?,
        epsilon: epsilon(vision)?,
        activation: activation(model, vision)?,
        prefix_tokens: 1,
        pre_norm: !vision.bool("no_ln_pre")?.unwrap_or(false),
        layer_scale: vision.number("ls_init_value")?.is_some(),
        final_norm: !pooled_first,
        pooling: Some(match vision.string("pool_type")? {
            None | Some("tok") => Pooling::First,
            Some("avg") => Pooling::MeanFrom(1),
            Some(_) => return Err(vision.unsupported("pool_type", "tok, avg")),
        }),
        pool_norm: pooled_first,
        projection: Some(size),
        ..Config::plain("CLIP", Layout::OpenClip, Input::Image(patches))
    };
    config.validate(vision.path())?;
    let table = "visual.positional_embedding";
    let positions = PositionSource {
        name: table.to_owned(),
        prefix: 1,
        width,
        grid,
        stored: StoredGrid::Configured,
        // `resize_pos_embed`.
        resampling: Resampling::BicubicAntialiased,
        built: None,
    };
    let patches = config.patches().expect("it takes images");
    let weights = Weights {
        patch: Some(patch_projection("visual.conv1", &config, patches, false)),
        prefix: Source::prefix(vec![Part::new("visual.class_embedding", &[1, width])], table, 1, [1, width]),
        pre_norm: config.pre_norm.then(|| norm("visual.ln_pre", width)),
        norm: config.final_norm.then(|| norm("visual.ln_post", width)),
        pool_norm: config.pool_norm.then(|| norm("visual.ln_post", width)),
        projection: Some(projection("visual.proj", width, size)),
        ..Weights::of_blocks((0..config.depth).map(|i| block(&config, "visual.", i)).collect())
    };
    Ok(Outline { weights, positions: Some(positions).into(), config, text: TextSources::default(), own: Vec::new() })
}

/// Returns a projection stored as `[C, P]`.
pub fn projection(name: &str, width: usize, size: usize) -> Linear<Source> {
    Linear { weight: Source::of(vec![Part::permuted(name, &[width, size], &[1, 0])], &[size, width]), bias: Source::zeros(size) }
}

/// Returns block i of the tower whose tensors' names begin with `front`.
pub fn block(config: &Config, front: &str, i: usize) -> Block<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}transformer.resblocks.{i}.{part}");
    let scale = |part: &str| config.layer_scale.then(|| Source::stored(name(part), &[width]));
    Block {
        norm1: norm(&name("ln_1"), width),
        qkv: Linear {
            weight: Source::stored(name("attn.in_proj_weight"), &[3 * width, width]),
            bias: Source::stored(name("attn.in_proj_bias"), &[3 * width]),
        },
        qk_norm: None,
        attention_norm: None,
        projection: linear(&name("attn.out_proj"), [width, width], true),
        scale1: scale("ls_1.gamma"),
        norm2: Some(norm(&name("ln_2"), width)),
        mlp1: linear(&name("mlp.c_fc"), [mlp_width, width], true),
        mlp_norm: None,
        mlp2: linear(&name("mlp.c_proj"), [width, mlp_width], true),
        scale2: scale("ls_2.gamma"),
    }
}
