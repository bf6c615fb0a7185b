//! Image tower of TIPSv2: DINOv2 with registers, whose positions are resampled otherwise.

use super::{class, dinov2, prefix};
use crate::data::error::Result;
use crate::execution::checkpoint::json::Object;
use crate::execution::checkpoint::source::PositionSource;
use crate::execution::checkpoint::{Files, Outline, facebook};

/// Type of the image tower's configuration.
pub const MODEL_TYPE: &str = "tipsv2_vision_model";

/// Values that the image tower's configuration need not state, where they differ from DINOv2's.
const DEFAULTS: [(&str, usize); 3] = [("image_size", 448), ("patch_size", 14), ("num_register_tokens", 1)];

pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let class = class(root, "Tipsv2VisionModel")?;
    if !["Tipsv2Model", "Tipsv2VisionModel"].contains(&class) {
        return Err(root.unsupported("architectures", "Tipsv2Model, Tipsv2VisionModel"));
    }
    let vision = root.object("vision_config")?.unwrap_or_else(|| root.clone());
    let missing = DEFAULTS.iter().filter(|(key, _)| !vision.has(key)).collect::<Vec<_>>();
    let vision = missing.into_iter().fold(vision, |vision, (key, value)| vision.with(key, (*value).into()));
    let qkv_bias = vision.bool("qkv_bias")?.unwrap_or(true);
    let mut outline = dinov2::encoder(&vision.with("model_type", MODEL_TYPE.into()), files, class, true, "")?;
    // transformers saves the names of the original files, which are nearly those of DINOv2's.
    let front = prefix(files, &["vision_encoder.", ""], "pos_embed");
    let layers = if outline.config.gated { facebook::GATED } else { ["mlp.c_fc", "mlp.c_proj"] };
    outline.weights = facebook::weights(&outline.config, front, outline.config.prefix_tokens - 1, layers, qkv_bias);
    outline.positions.table = outline.positions.table.map(|table| PositionSource { name: format!("{front}pos_embed"), ..table });
    Ok(outline)
}
