//! Preprocessing of transformers' image processors (Pillow backends), from `preprocessor_config.json`.

use super::{class, clip};
use crate::data::error::Result;
use crate::execution::checkpoint::channel_values;
use crate::execution::checkpoint::json::Object;
use crate::execution::image::{Alpha, Crop, CropRounding, Filter, Levels, Preprocess, Resize};

/// Defaults of an image processor class.
struct Processor {
    resample: usize,
    size: Size,
    /// Whether a single number is the side of a square rather than the shortest edge.
    number_is_square: bool,
    crops: bool,
    /// Whether it heeds `do_center_crop` at all.
    can_crop: bool,
    normalizes: bool,
    /// Whether it has no Pillow backend, only torchvision's.
    is_torchvision: bool,
    mean: [f64; 3],
    std: [f64; 3],
    /// Whether transparent images are composited onto white.
    on_white: bool,
    resizes: Levels,
}

enum Size {
    Square(usize),
    ShortestEdge(usize),
}

const HALF: [f64; 3] = [0.5; 3];
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Returns the defaults of a processor class, named without `ImageProcessor` or `FeatureExtractor`.
fn processor(name: &str) -> Option<Processor> {
    let (resample, size, number_is_square, crops, mean, std, on_white) = match name {
        "ViT" => (2, Size::Square(224), true, false, HALF, HALF, false),
        "DeiT" => (3, Size::Square(256), true, true, HALF, HALF, false),
        "Beit" => (3, Size::Square(224), true, false, HALF, HALF, false),
        "Siglip2" => (2, Size::Square(224), false, false, HALF, HALF, true),
        "Siglip" => (3, Size::Square(224), false, false, HALF, HALF, true),
        "DINOv3ViT" => (2, Size::Square(224), true, false, IMAGENET_MEAN, IMAGENET_STD, false),
        "Tipsv2" => (2, Size::Square(448), true, false, [0.0; 3], [1.0; 3], true),
        "DPT" => (3, Size::Square(384), true, false, HALF, HALF, false),
        "CLIP" | "Bit" | "ViTHybrid" => (3, Size::ShortestEdge(224), false, true, CLIP_MEAN, CLIP_STD, true),
        _ => return None,
    };
    let resizes = if name == "DINOv3ViT" { Levels::Scaled } else { Levels::Rounded };
    let (can_crop, normalizes, is_torchvision) = (name != "Siglip2", name != "Tipsv2", matches!(name, "DINOv3ViT" | "Tipsv2"));
    Some(Processor { resample, size, number_is_square, crops, can_crop, normalizes, is_torchvision, mean, std, on_white, resizes })
}

/// Returns the processor class of a model whose files name none, as in transformers' `AutoImageProcessor`.
fn of_model(model_type: &str) -> &'static str {
    match model_type {
        "deit" => "DeiT",
        "beit" => "Beit",
        "vit-hybrid" => "ViTHybrid",
        "dinov2" | "dinov2_with_registers" => "Bit",
        "dinov3_vit" => "DINOv3ViT",
        "dpt" | "depth_anything" => "DPT",
        name if name.starts_with("tipsv2") => "Tipsv2",
        name if name.starts_with("clip") || name.starts_with("aimv2") => "CLIP",
        name if name.starts_with("siglip2") => "Siglip2",
        name if name.starts_with("siglip") => "Siglip",
        _ => "ViT",
    }
}

/// Reads the preprocessing of a transformers image processor (Pillow backend). Without a processor file, uses the defaults of
/// the class at the model's image size.
///
/// `image` overrides the final height and width. An exact resize with a crop is scaled together with the crop, and so is a
/// resize of the shortest edge if both sizes are square. Otherwise images are resized to exactly `image`, without a crop.
pub fn preprocess(root: &Object, file: Option<Object>, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let vision = match root.string("model_type")? {
        Some("clip") => clip::tower_config(root, class(root, "CLIPModel")?, "vision_config")?,
        _ => root.object("vision_config")?,
    };
    let vision = vision.unwrap_or_else(|| root.clone());
    let channels = vision.size("num_channels")?.unwrap_or(3);
    let image = match file {
        Some(_) => image,
        None => image.or(vision.pair("image_size")?).or(Some([224, 224])),
    };
    let assumed = file.is_none();
    let file = file.map_or_else(|| Object::parse(root.path(), b"{}"), Ok)?;
    let key = if file.has("image_processor_type") { "image_processor_type" } else { "feature_extractor_type" };
    let endings = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"];
    let stem = match file.string(key)? {
        None => Some(of_model(root.string("model_type")?.unwrap_or_default())),
        Some(class) => endings.iter().find_map(|ending| class.strip_suffix(ending)),
    };
    let defaults = stem
        .and_then(processor)
        .ok_or_else(|| file.unsupported(key, "ViT, DeiT, Beit, DPT, CLIP, Siglip, Siglip2, Bit, ViTHybrid, DINOv3ViT and Tipsv2 image processors"))?;
    let pads = file.bool("do_pad")?.unwrap_or(false) && stem == Some("DPT");
    for step in ["do_pad", "use_square_size"] {
        if file.bool(step)? == Some(true) && !(step == "do_pad" && pads) {
            return Err(file.unsupported(step, "false"));
        }
    }
    let pad = if pads { file.size("size_divisor")? } else { None };
    // null disables a step; an absent field takes the class's default.
    let enabled = |step: &str, default: bool| Ok(file.bool(step)?.unwrap_or(default && !file.has(step)));
    let filter = match file.count("resample")?.unwrap_or(defaults.resample) {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        4 => Filter::Box,
        5 => Filter::Hamming,
        _ => return Err(file.unsupported("resample", "0 to 5, as in Pillow")),
    };
    let resize = match (enabled("do_resize", true)?, stem) {
        (false, _) => Resize::Keep,
        (true, Some("Siglip2")) => {
            Resize::Patches { side: file.size("patch_size")?.unwrap_or(16), most: file.size("max_num_patches")?.unwrap_or(256) }
        }
        (true, Some("DPT")) => multiple(&file, resize(&file, &defaults)?)?,
        (true, _) => resize(&file, &defaults)?,
    };
    let crop = match enabled("do_center_crop", defaults.crops)? && defaults.can_crop {
        false => None,
        true => {
            let rounding = if defaults.is_torchvision { CropRounding::TowardZero } else { CropRounding::Down };
            Some(Crop { size: pair(&file, "crop_size")?.unwrap_or([224, 224]), rounding, fill: [0; 3] })
        }
    };
    let (resize, crop) = match image {
        None => (resize, crop),
        Some(image) => resized_for(image, resize, crop),
    };
    let scale = if enabled("do_rescale", true)? { file.number("rescale_factor")?.unwrap_or(1.0 / 255.0) } else { 1.0 };
    let (mean, std) = match enabled("do_normalize", defaults.normalizes)? {
        false => (vec![0.0; channels], vec![1.0; channels]),
        true => (channel_values(&file, "image_mean", channels, defaults.mean)?, channel_values(&file, "image_std", channels, defaults.std)?),
    };
    let alpha = if file.bool("do_convert_rgb")?.unwrap_or(defaults.on_white) { Alpha::OnWhite } else { Alpha::Dropped };
    Ok(Preprocess { channels, alpha, resize, resizes: defaults.resizes, filter, crop, scale, mean, std, pad, assumed })
}

/// Adapts resize and crop to another final size.
fn resized_for(image: [usize; 2], resize: Resize, crop: Option<Crop>) -> (Resize, Option<Crop>) {
    match (resize, crop) {
        (Resize::ShortestEdge(edge), Some(crop)) if image[0] == image[1] && crop.size[0] == crop.size[1] => {
            let edge = (edge * image[0]).div_ceil(crop.size[0]).max(image[0]);
            (Resize::ShortestEdge(edge), Some(Crop { size: image, ..crop }))
        }
        (Resize::Multiple { of, keeps_ratio, .. }, None) => (Resize::Multiple { size: image, of, keeps_ratio }, None),
        (Resize::Exact(size), Some(crop)) => {
            let scaled = |axis: usize| (size[axis] * image[axis]).div_ceil(crop.size[axis]);
            (Resize::Exact([scaled(0), scaled(1)]), Some(Crop { size: image, ..crop }))
        }
        _ => (Resize::Exact(image), None),
    }
}

/// Reads a height and a width from one number, two numbers, or an object.
fn pair(file: &Object, key: &str) -> Result<Option<[usize; 2]>> {
    if !file.get(key).is_some_and(|value| value.is_object()) {
        return file.pair(key);
    }
    let object = file.object(key)?.expect("it is an object");
    match (object.size("height")?, object.size("width")?) {
        (Some(height), Some(width)) => Ok(Some([height, width])),
        _ => Err(file.wrong(key, "height and width")),
    }
}

/// Reads how DPT's processor adapts the size to the image.
fn multiple(file: &Object, resize: Resize) -> Result<Resize> {
    let (of, keeps_ratio) = (file.size("ensure_multiple_of")?.unwrap_or(1), file.bool("keep_aspect_ratio")?.unwrap_or(false));
    match resize {
        Resize::Exact(size) if of > 1 || keeps_ratio => Ok(Resize::Multiple { size, of, keeps_ratio }),
        Resize::Exact(size) => Ok(Resize::Exact(size)),
        _ => Err(file.unsupported("size", "height and width")),
    }
}

fn resize(file: &Object, defaults: &Processor) -> Result<Resize> {
    let number_is_square = file.bool("default_to_square")?.unwrap_or(defaults.number_is_square);
    match file.get("size") {
        None => Ok(match defaults.size {
            Size::Square(side) => Resize::Exact([side, side]),
            Size::ShortestEdge(edge) => Resize::ShortestEdge(edge),
        }),
        Some(value) if value.is_number() && !number_is_square => Ok(Resize::ShortestEdge(file.pair("size")?.expect("a number")[0])),
        Some(value) if value.is_object() => {
            let object = file.object("size")?.expect("it is an object");
            match (object.size("shortest_edge")?, object.get("longest_edge")) {
                (Some(edge), None) => Ok(Resize::ShortestEdge(edge)),
                (_, Some(_)) => Err(file.unsupported("size", "height and width, or shortest_edge")),
                (None, None) => Ok(Resize::Exact(pair(file, "size")?.expect("an object"))),
            }
        }
        Some(_) => Ok(Resize::Exact(file.pair("size")?.expect("there is a size"))),
    }
}
