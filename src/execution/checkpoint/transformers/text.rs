//! Text towers of CLIP and SigLIP.

use super::{activation, class, prefix};
use crate::data::config::{Activation, Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::positions::PositionSources;
use crate::execution::checkpoint::source::{Part, Source, linear, norm};
use crate::execution::checkpoint::weights::Weights;
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// The id of the end of a text in configurations from before transformers 4.31, which is not that of the vocabulary: texts end at their largest id.
const OLD_END: usize = 2;

/// Reads a text tower on its own.
pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let is_clip = root.string("model_type")? == Some("clip_text_model");
    let projects = match (class(root, if is_clip { "CLIPTextModel" } else { "SiglipTextModel" })?, is_clip) {
        ("CLIPTextModel", true) => None,
        ("CLIPTextModelWithProjection", true) => Some(root.size("projection_dim")?.unwrap_or(512)),
        ("SiglipTextModel" | "Siglip2TextModel", false) => None,
        (_, true) => return Err(root.unsupported("architectures", "CLIPTextModel, CLIPTextModelWithProjection")),
        (_, false) => return Err(root.unsupported("architectures", "SiglipTextModel, Siglip2TextModel")),
    };
    tower(root, files, is_clip, projects)
}

/// Reads the configuration of a text tower. CLIP's is projected to `projection` values, if any; SigLIP's always has a head.
pub fn tower(text: &Object, files: Option<&Files>, is_clip: bool, projection: Option<usize>) -> Result<Outline> {
    let front = prefix(files, &["text_model.", ""], "embeddings.token_embedding.weight");
    let width = text.size("hidden_size")?.unwrap_or(if is_clip { 512 } else { 768 });
    let vocabulary = text.size("vocab_size")?.unwrap_or(if is_clip { 49408 } else { 32000 });
    let longest = text.size("max_position_embeddings")?.unwrap_or(if is_clip { 77 } else { 64 });
    let end = text.count("eos_token_id")?.unwrap_or(49407);
    let (default_activation, default_epsilon) = if is_clip { (Activation::QuickGelu, 1e-5) } else { (Activation::GeluTanh, 1e-6) };
    let config = Config {
        width,
        depth: checked_depth(text, text.size("num_hidden_layers")?.unwrap_or(12), files)?,
        heads: text.size("num_attention_heads")?.unwrap_or(if is_clip { 8 } else { 12 }),
        mlp_width: text.size("intermediate_size")?.unwrap_or(if is_clip { 2048 } else { 3072 }),
        epsilon: text.number("layer_norm_eps")?.unwrap_or(default_epsilon) as f32,
        activation: activation(text, "hidden_act")?.unwrap_or(default_activation),
        prefix_tokens: 0,
        class_token: false,
        causal: is_clip,
        pooling: Some(if is_clip { Pooling::EndOfText((end != OLD_END).then_some(end)) } else { Pooling::Last }),
        projection: if is_clip { projection } else { Some(text.size("projection_size")?.unwrap_or(width)) },
        ..Config::plain(if is_clip { "CLIP text" } else { "SigLIP text" }, Layout::Transformers, Input::Text { vocabulary, longest })
    };
    config.validate(text.path())?;
    let name = |part: &str| format!("{front}{part}");
    let positions =
        PositionSources { of_text: Some(Part::new(name("embeddings.position_embedding.weight"), &[longest, width])), ..PositionSources::default() };
    let text =
        TextSources { tokens: Some(Source::stored(name("embeddings.token_embedding.weight"), &[vocabulary, width])), ..TextSources::default() };
    let weights = Weights {
        norm: Some(norm(&name("final_layer_norm"), width)),
        projection: config.projection.map(|size| match is_clip {
            true => linear("text_projection", [size, width], false),
            false => linear(&name("head"), [size, width], true),
        }),
        ..Weights::of_blocks((0..config.depth).map(|i| super::clip::block(&config, front, i)).collect())
    };
    Ok(Outline { weights, positions, config, text, own: Vec::new() })
}
