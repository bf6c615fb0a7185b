//! Facebook's own DINOv2 files: `dinov2_vits14_pretrain.pth` and its like, without a configuration. Everything follows from the names and shapes of the
//! tensors.
//!
//! Source: facebookresearch/dinov2's `models/vision_transformer.py`, `hub/backbones.py` and `data/transforms.py`.

use super::files::Files;
use super::json::Object;
use super::position::Resampling;
use super::source::{Part, PositionSource, Source, StoredGrid, linear, norm, patch_projection};
use super::weights::{Block, Weights};
use super::{DEEPEST, Outline, TextSources, timm};
use crate::data::config::{Activation, Config, Edge, Input, Layout, Patches, Pooling};
use crate::data::error::{Error, Result};
use crate::execution::image::Preprocess;
use serde_json::json;
use std::path::Path;

/// Head width D of every DINOv2 model.
const HEAD_WIDTH: usize = 64;

/// Name prefixes of the tensors outside the blocks.
const OWN: &[&str] = &["cls_token", "norm.", "patch_embed.", "pos_embed", "register_tokens"];

/// Interprets the tensors of a file.
pub fn read(path: &Path, files: &Files) -> Result<Outline> {
    if !["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.ls1.gamma"].iter().all(|name| files.has(name)) {
        return Err(Error::unsupported(
            path,
            "found no DINOv2 model as Facebook publishes them; files of other models need a config.json: give the folder with both",
        ));
    }
    let &[width, channels, patch_height, patch_width] = files.sizes("patch_embed.proj.weight")?;
    let &[_, rows, _] = files.sizes("pos_embed")?;
    let gated = files.has("blocks.0.mlp.w12.weight");
    let mlp_width = match gated {
        true => files.sizes::<2>("blocks.0.mlp.w3.weight")?[1],
        false => files.sizes::<2>("blocks.0.mlp.fc1.weight")?[0],
    };
    let number = |name: &str| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    let depth = files.names().filter_map(number).max().map_or(0, |last| last.saturating_add(1));
    if depth > DEEPEST || depth > files.len() {
        return Err(Error::file(path, format!("found {depth} blocks; more than {DEEPEST}, or than there are tensors, are not supported")));
    }
    let registers = match files.has("register_tokens") {
        true => files.sizes::<3>("register_tokens")?[1],
        false => 0,
    };
    let side = rows.saturating_sub(1).isqrt().max(1);
    let patches = Patches::new(channels, [side * patch_height, side * patch_width], [patch_height, patch_width], Edge::Refuse);
    let config = Config {
        width,
        depth,
        heads: (width / HEAD_WIDTH).max(1),
        mlp_width,
        gated,
        activation: if gated { Activation::Silu } else { Activation::Gelu },
        prefix_tokens: 1 + registers,
        layer_scale: true,
        pooling: Some(Pooling::First),
        ..Config::plain(&path.file_stem().unwrap_or_default().to_string_lossy(), Layout::Facebook, Input::Image(patches))
    };
    config.validate(path)?;
    let positions = PositionSource {
        name: "pos_embed".to_owned(),
        prefix: 1,
        width,
        grid: [side; 2],
        stored: StoredGrid::Square,
        // `hub/backbones.py` sets these for models without and with registers.
        resampling: if registers > 0 { Resampling::BicubicAntialiased } else { Resampling::BicubicOffset },
        built: None,
    };
    let own = OWN.iter().map(|own| (*own).to_owned()).collect();
    let layers = if gated { GATED } else { ["mlp.fc1", "mlp.fc2"] };
    let weights = weights(&config, "", registers, layers, true);
    Ok(Outline { weights, positions: Some(positions).into(), config, text: TextSources::default(), own })
}

/// The preprocessing for evaluation.
pub fn preprocess(path: &Path, config: &Config, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let channels = config.patches().expect("it takes images").channels;
    let fields = json!({ "input_size": [channels, 224, 224], "crop_pct": 0.875, "interpolation": "bicubic" });
    timm::preprocess(&Object::parse(path, fields.to_string().as_bytes())?, image)
}

/// Maps weights to Facebook's tensor names, which begin with `front`; `mlp1` and `mlp2` are those of the MLP's layers.
pub fn weights(config: &Config, front: &str, registers: usize, [mlp1, mlp2]: [&str; 2], qkv_bias: bool) -> Weights<Source> {
    let (width, mlp_width) = (config.width, config.mlp_width);
    let name = |part: &str| format!("{front}{part}");
    let block = |i: usize| {
        let name = |part: &str| name(&format!("blocks.{i}.{part}"));
        Block {
            norm1: norm(&name("norm1"), width),
            qkv: linear(&name("attn.qkv"), [3 * width, width], qkv_bias),
            qk_norm: None,
            attention_norm: None,
            projection: linear(&name("attn.proj"), [width, width], true),
            scale1: Some(Source::stored(name("ls1.gamma"), &[width])),
            norm2: Some(norm(&name("norm2"), width)),
            mlp1: linear(&name(mlp1), [config.mlp_outputs(), width], true),
            mlp_norm: None,
            mlp2: linear(&name(mlp2), [width, mlp_width], true),
            scale2: Some(Source::stored(name("ls2.gamma"), &[width])),
        }
    };
    let mut prefix = vec![Part::new(name("cls_token"), &[1, width])];
    prefix.extend((registers > 0).then(|| Part::new(name("register_tokens"), &[registers, width])));
    let patches = config.patches().expect("it takes images");
    Weights {
        patch: Some(patch_projection(&name("patch_embed.proj"), config, patches, true)),
        prefix: Source::prefix(prefix, &name("pos_embed"), 1, [config.prefix_tokens, width]),
        norm: Some(norm(&name("norm"), width)),
        ..Weights::of_blocks((0..config.depth).map(block).collect())
    }
}

/// Names of the layers of a gated MLP.
pub const GATED: [&str; 2] = ["mlp.w12", "mlp.w3"];
