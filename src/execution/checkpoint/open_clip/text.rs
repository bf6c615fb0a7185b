//! open_clip's `TextTransformer`.

use super::towers::{block, projection};
use super::{activation, epsilon, mlp_width};
use crate::data::config::{Config, Input, Layout, Pooling};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::positions::PositionSources;
use crate::execution::checkpoint::source::{Part, Source, linear, norm};
use crate::execution::checkpoint::weights::Weights;
use crate::execution::checkpoint::{Files, Outline, TextSources, checked_depth};

/// Reads the text tower. `size` is the width of the vectors, P.
pub fn tower(model: &Object, text: &Object, size: usize, files: Option<&Files>) -> Result<Outline> {
    // `CustomTextCLIP` has the tower as a module, `CLIP` has its parts.
    let front = if files.is_some_and(|files| files.has("text.token_embedding.weight")) { "text." } else { "" };
    let name = |part: &str| format!("{front}{part}");
    let width = text.size("width")?.unwrap_or(512);
    let vocabulary = text.size("vocab_size")?.unwrap_or(49408);
    let longest = text.size("context_length")?.unwrap_or(77);
    let projects = match text.string("proj_type")? {
        None | Some("linear") => Some(size),
        Some("none") => None,
        Some(_) => return Err(text.unsupported("proj_type", "linear, none")),
    };
    let config = Config {
        width,
        depth: checked_depth(text, text.size("layers")?.unwrap_or(12), files)?,
        heads: text.size("heads")?.unwrap_or(8),
        mlp_width: mlp_width(text, width)?,
        epsilon: epsilon(text)?,
        activation: activation(model, text)?,
        prefix_tokens: 0,
        class_token: false,
        causal: !text.bool("no_causal_mask")?.unwrap_or(false),
        layer_scale: text.number("ls_init_value")?.is_some(),
        pooling: Some(match text.string("pool_type")? {
            None | Some("argmax") => Pooling::EndOfText(None),
            Some("eos") => Pooling::EndOfText(Some(text.count("eos_id")?.unwrap_or(2))),
            Some("last") => Pooling::Last,
            Some("first") => Pooling::First,
            Some(_) => return Err(text.unsupported("pool_type", "argmax, eos, last, first")),
        }),
        projection: projects,
        joint: projects.is_none(),
        ..Config::plain("CLIP text", Layout::OpenClip, Input::Text { vocabulary, longest })
    };
    config.validate(text.path())?;
    let positions = PositionSources { of_text: Some(Part::new(name("positional_embedding"), &[longest, width])), ..PositionSources::default() };
    let tokens = Source::stored(name("token_embedding.weight"), &[vocabulary, width]);
    let has_bias = text.bool("proj_bias")?.unwrap_or(false);
    let weights = Weights {
        norm: Some(norm(&name("ln_final"), width)),
        projection: config.projection.map(|size| match has_bias {
            true => linear(&name("text_projection"), [size, width], true),
            false => projection(&name("text_projection"), width, size),
        }),
        ..Weights::of_blocks((0..config.depth).map(|i| block(&config, front, i)).collect())
    };
    Ok(Outline { weights, positions, config, text: TextSources { tokens: Some(tokens), ..TextSources::default() }, own: Vec::new() })
}
