//! open_clip's layout: `open_clip_config.json` with `model_cfg` and `preprocess_cfg`.
//!
//! Source: open_clip 3.3's `model.py`, `transformer.py`, `timm_model.py` and `transform.py`.

mod preprocess;
mod text;
mod towers;
mod trunk;

pub use preprocess::preprocess;

use super::json::Object;
use super::source::Part;
use super::{Files, Outline};
use crate::data::config::{Activation, Layout};
use crate::data::error::Result;

/// Configuration of a folder without `config.json`.
pub const CONFIG: &str = "open_clip_config.json";

/// Prefix of the tensors of timm's models.
pub const TRUNK: &str = "visual.trunk.";

/// Arguments supported only if absent or false: other blocks and poolings.
const FORMS: &[&str] =
    &["attentional_pool", "embed_cls", "hf_model_name", "qk_norm", "scale_attn", "scale_attn_inner", "scale_fc", "scale_heads", "scaled_cosine_attn"];

/// Whether a configuration is open_clip's.
pub fn is_config(root: &Object) -> bool {
    root.has("model_cfg")
}

/// Interprets an `open_clip_config.json`. Of the tensors of a timm model, the names begin after [`TRUNK`].
pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let model = section(root, "model_cfg")?;
    let size = model.size("embed_dim")?.ok_or_else(|| model.wrong("embed_dim", "the width of the vectors"))?;
    let (vision, text) = (section(&model, "vision_cfg")?, section(&model, "text_cfg")?);
    for (section, form) in [&vision, &text].into_iter().flat_map(|section| FORMS.iter().map(move |form| (section, *form))) {
        if section.get(form).is_some_and(|value| *value != serde_json::Value::Bool(false)) {
            return Err(section.unsupported(form, "open_clip's plain Vision and text Transformers, and timm's Vision Transformers"));
        }
    }
    let mut outline = match vision.string("timm_model_name")? {
        Some(name) => trunk::read(root, &vision, name, size, files)?,
        None => towers::vision(&model, &vision, size, files)?,
    };
    outline.config.layout = Layout::OpenClip;
    let has_bias = model.has("init_logit_bias") || files.is_some_and(|files| files.has("logit_bias"));
    outline.text.similarity = Some((Part::new("logit_scale", &[1]), has_bias.then(|| Part::new("logit_bias", &[1]))));
    outline.text.tower = Some(Box::new(text::tower(&model, &text, size, files)?));
    Ok(outline)
}

fn section(object: &Object, key: &str) -> Result<Object> {
    object.object(key)?.ok_or_else(|| object.wrong(key, "an object"))
}

/// Reads the activation of a tower's blocks.
fn activation(model: &Object, tower: &Object) -> Result<Activation> {
    let approximate = tower.object("act_kwargs")?.map(|form| form.string("approximate").map(|form| form == Some("tanh"))).transpose()?;
    Ok(match (model.bool("quick_gelu")?, approximate) {
        (Some(true), _) => Activation::QuickGelu,
        (_, Some(true)) => Activation::GeluTanh,
        _ => Activation::Gelu,
    })
}

/// Reads the epsilon of a tower's norms.
fn epsilon(tower: &Object) -> Result<f32> {
    let own = tower.object("norm_kwargs")?.map(|form| form.number("eps")).transpose()?.flatten();
    Ok(own.unwrap_or(1e-5) as f32)
}

/// Hidden width of the MLP, F.
fn mlp_width(tower: &Object, width: usize) -> Result<usize> {
    let inner = (width as f64 * tower.number("mlp_ratio")?.unwrap_or(4.0)) as usize;
    match (1..=1 << 20).contains(&inner) {
        true => Ok(inner),
        false => Err(tower.wrong("mlp_ratio", "a factor that gives a width from 1 to 1048576")),
    }
}
