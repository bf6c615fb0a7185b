//! timm's preprocessing for evaluation (`create_transform` with `pretrained_cfg`).

use super::{has_fixed_size, input_size, pretrained};
use crate::data::error::Result;
use crate::execution::checkpoint::{channel_values, json::Object};
use crate::execution::image::{Alpha, Crop, CropRounding, Filter, Levels, Preprocess, Resize};

/// Mean and standard deviation of ImageNet's training images, timm's default.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Returns the mean as 8-bit levels, computed from the numbers as written: 255 * 0.3 must not become 76.500003.
fn border_fill(pretrained: &Object) -> Result<[u8; 3]> {
    let mean = pretrained.numbers("mean")?.unwrap_or(IMAGENET_MEAN.to_vec());
    Ok(std::array::from_fn(|i| (255.0 * mean[i.min(mean.len() - 1)]).round_ties_even() as u8))
}

/// Reads the transform of a `config.json` with an `architecture`. `image` overrides its height and width.
pub fn preprocess(root: &Object, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let pretrained = pretrained(root)?;
    // `model_args` take precedence over `input_size`, their image size only if timm treats it as fixed.
    let own = root.object("model_args")?;
    let own_channels = own.as_ref().map_or(Ok(None), |own| own.size("in_chans"))?;
    let own_image = own.as_ref().map_or(Ok(None), |own| own.pair("img_size"))?;
    let input = input_size(&pretrained)?;
    let fixed = has_fixed_size(root, &pretrained)?;
    let channels = own_channels.or(input.map(|input| input[0])).unwrap_or(3);
    let configured = match (input, own_image) {
        (Some([_, height, width]), own) => own.filter(|_| fixed).unwrap_or([height, width]),
        (None, own) => own.unwrap_or([224, 224]),
    };
    let [height, width] = image.unwrap_or(configured);
    let crop_pct = pretrained.number("crop_pct")?.unwrap_or(0.875);
    if !(0.01..=16.0).contains(&crop_pct) {
        return Err(pretrained.wrong("crop_pct", "a factor from 0.01 to 16"));
    }
    let filter = match pretrained.string("interpolation")?.unwrap_or("bicubic") {
        "nearest" => Filter::Nearest,
        "box" => Filter::Box,
        "bilinear" => Filter::Bilinear,
        "hamming" => Filter::Hamming,
        "bicubic" => Filter::Bicubic,
        "lanczos" => Filter::Lanczos,
        _ => return Err(pretrained.unsupported("interpolation", "nearest, box, bilinear, hamming, bicubic, lanczos")),
    };
    let mean = channel_values(&pretrained, "mean", channels, IMAGENET_MEAN)?;
    let std = channel_values(&pretrained, "std", channels, IMAGENET_STD)?;
    let scaled = [height, width].map(|size| (size as f64 / crop_pct).floor() as usize);
    if scaled.contains(&0) {
        return Err(pretrained.wrong("crop_pct", "a factor that leaves at least one pixel of the input size"));
    }
    let (resize, fill) = match pretrained.string("crop_mode")?.unwrap_or("center") {
        "squash" => (Resize::Exact(scaled), [0; 3]),
        "border" => (Resize::Fit(scaled), border_fill(&pretrained)?),
        "center" if scaled[0] == scaled[1] => (Resize::ShortestEdge(scaled[0]), [0; 3]),
        "center" => (Resize::Cover(scaled), [0; 3]),
        _ => return Err(pretrained.unsupported("crop_mode", "center, squash, border")),
    };
    let crop = Some(Crop { size: [height, width], rounding: CropRounding::HalfEven, fill });
    let (alpha, resizes) = (Alpha::Dropped, Levels::Rounded);
    Ok(Preprocess { channels, alpha, resize, resizes, filter, crop, scale: 1.0 / 255.0, mean, std, pad: None, assumed: false })
}
