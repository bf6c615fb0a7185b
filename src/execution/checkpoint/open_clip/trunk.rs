//! Image towers of open_clip that are timm's models.

use crate::data::config::Config;
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::linear;
use crate::execution::checkpoint::{Files, Outline, Weights, timm};
use serde_json::{Value, json};

/// Reads timm's model `name` as an image tower. `size` is the width of the vectors, P.
pub fn read(root: &Object, vision: &Object, name: &str, size: usize, files: Option<&Files>) -> Result<Outline> {
    let projection = match vision.string("timm_proj")? {
        // Without one, timm's classifier projects.
        None | Some("") => Projection::Classifier,
        Some("linear") => Projection::Linear { has_bias: vision.bool("timm_proj_bias")?.unwrap_or(false) },
        Some("none") => Projection::None,
        Some(_) => return Err(vision.unsupported("timm_proj", "linear, none, or null")),
    };
    let [height, width] = vision.pair("image_size")?.unwrap_or([224, 224]);
    let of_timm = |args: Value| {
        let config = json!({
            "architecture": name,
            "num_classes": if projection == Projection::Classifier { size } else { 0 },
            "model_args": args,
            "pretrained_cfg": { "input_size": [3, height, width], "fixed_input_size": true },
        });
        timm::read(&Object::parse(root.path(), config.to_string().as_bytes())?, files)
    };
    let pool = vision.string("timm_pool")?.unwrap_or("avg");
    let mut outline = match projection {
        Projection::Linear { .. } if pool.is_empty() => of_timm(json!({}))?,
        // Built as timm's own, then given another pooling. The norm stays where it was.
        Projection::Linear { .. } => {
            let (built, pooled) = (of_timm(json!({}))?, of_timm(json!({ "global_pool": pool }))?);
            let weights = Weights { attention_pool: pooled.weights.attention_pool, ..built.weights };
            Outline { config: Config { pooling: pooled.config.pooling, ..built.config }, weights, ..built }
        }
        Projection::Classifier | Projection::None => of_timm(json!({ "global_pool": pool }))?,
    };
    outline.config.classifiers.clear();
    let classifiers = std::mem::take(&mut outline.weights.heads);
    outline.weights.projection = match projection {
        Projection::Classifier => classifiers.into_iter().next(),
        Projection::Linear { has_bias } => Some(linear("visual.head.proj", [size, outline.config.feature_width()], has_bias)),
        Projection::None => None,
    };
    match projection {
        Projection::None => outline.config.joint = true,
        _ => outline.config.projection = Some(size),
    }
    outline.config.validate(root.path())?;
    Ok(outline)
}

/// Layer after the pooled vector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Projection {
    Classifier,
    Linear { has_bias: bool },
    None,
}
