//! open_clip's preprocessing for evaluation (`image_transform`).

use super::section;
use crate::data::error::Result;
use crate::execution::checkpoint::{json::Object, timm};
use crate::execution::image::{Crop, Preprocess};
use serde_json::json;

/// Mean and standard deviation of OpenAI's training images, open_clip's default.
const MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Reads the transform. `image` overrides its height and width. Both libraries resize and crop with torchvision, so timm's form serves.
pub fn preprocess(root: &Object, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let vision = section(&section(root, "model_cfg")?, "vision_cfg")?;
    let own = match root.object("preprocess_cfg")? {
        Some(own) => own,
        None => Object::parse(root.path(), b"{}")?,
    };
    let crop_mode = match own.string("resize_mode")? {
        None | Some("shortest") => "center",
        Some("squash") => "squash",
        Some("longest") => "border",
        Some(_) => return Err(own.unsupported("resize_mode", "shortest, squash, longest")),
    };
    let [height, width] = vision.pair("image_size")?.unwrap_or([224, 224]);
    let [final_height, final_width] = image.unwrap_or([height, width]);
    let interpolation = match crop_mode {
        // open_clip does not pass the interpolation on to the resize that sides of two lengths need.
        "center" if final_height != final_width => "bicubic",
        _ => own.string("interpolation")?.unwrap_or("bicubic"),
    };
    let of_timm = json!({
        "input_size": [3, height, width],
        "mean": own.numbers("mean")?.unwrap_or(MEAN.to_vec()),
        "std": own.numbers("std")?.unwrap_or(STD.to_vec()),
        "interpolation": interpolation,
        "crop_pct": 1.0,
        "crop_mode": crop_mode,
    });
    let mut preprocess = timm::preprocess(&Object::parse(root.path(), of_timm.to_string().as_bytes())?, image)?;
    let fill = [own.count("fill_color")?.unwrap_or(0).min(255) as u8; 3];
    preprocess.crop = preprocess.crop.map(|crop| Crop { fill, ..crop });
    Ok(preprocess)
}
