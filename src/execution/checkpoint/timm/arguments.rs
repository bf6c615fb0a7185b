//! Constructor arguments of a timm model: those implied by its name, and those in the file.

use crate::data::config::Activation;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::json::Object;
use serde_json::Value;
use std::path::Path;

/// Arguments of timm's `VisionTransformer` or `Eva` constructor that each architecture name implies.
/// Names that timm has retired point to their replacement with `alias`.
const ARCHITECTURES: &str = include_str!("architectures.json");

/// Returns `pretrained_cfg`, or the root, where old files keep its fields.
pub fn pretrained(root: &Object) -> Result<Object> {
    Ok(root.object("pretrained_cfg")?.unwrap_or_else(|| root.clone()))
}

/// Returns the constructor arguments: those implied by the name, overridden by `model_args`.
pub fn arguments(root: &Object, name: &str) -> Result<Object> {
    let all = architectures();
    // A tag after the dot identifies the weights, not the architecture.
    let plain = name.split('.').next().unwrap_or(name);
    let entry = all.object(plain)?;
    let current = entry.as_ref().map_or(Ok(None), |entry| entry.string("alias"))?;
    let implied = match current {
        Some(current) => all.object(current)?,
        None => entry.clone(),
    };
    let Some(implied) = implied else {
        return Err(Error::unsupported(root.path(), format!("architecture {name:?} is not known to vitraux")));
    };
    let args = match root.object("model_args")? {
        Some(args) => implied.overlaid(&args),
        None => implied,
    };
    Ok(args.located(root.path(), &format!("architecture {name}: ")))
}

/// Arguments implied by each architecture name.
pub fn architectures() -> Object {
    Object::parse(Path::new("architectures.json"), ARCHITECTURES.as_bytes()).expect("the embedded table is valid")
}

/// Rejects arguments that select a computation vitraux does not implement.
pub fn check_known(args: &Object, known: &[&str], ignored: &[&str], fixed: &[(&str, Value)]) -> Result<()> {
    let is_known = |key: &str| known.contains(&key) || ignored.contains(&key) || fixed.iter().any(|(fixed, _)| *fixed == key);
    if let Some(unknown) = args.keys().find(|key| args.get(key).is_some() && !is_known(key)) {
        return Err(args.unsupported(unknown, "the arguments of timm's Vision Transformers"));
    }
    for (key, value) in fixed {
        if args.get(key).is_some_and(|found| found != value) {
            return Err(args.unsupported(key, "timm's Vision Transformers without it"));
        }
    }
    Ok(())
}

pub fn channels(args: &Object, pretrained: &Object) -> Result<usize> {
    Ok(args.size("in_chans")?.unwrap_or(input_size(pretrained)?.map_or(3, |input| input[0])))
}

/// Reads channels, height and width from `input_size`.
pub fn input_size(pretrained: &Object) -> Result<Option<[usize; 3]>> {
    let Some(sizes) = pretrained.numbers("input_size")? else { return Ok(None) };
    match sizes[..] {
        [channels, height, width] if sizes.iter().all(|size| size.fract() == 0.0 && (1.0..=1048576.0).contains(size)) => {
            Ok(Some([channels as usize, height as usize, width as usize]))
        }
        _ => Err(pretrained.wrong("input_size", "[channels, height, width]")),
    }
}

/// Reads a class count; -1 means timm's default.
pub fn class_count(object: &Object) -> Result<Option<usize>> {
    match object.get("num_classes").and_then(Value::as_i64) {
        Some(-1) => Ok(None),
        _ => object.count("num_classes"),
    }
}

/// Whether timm treats the image size as fixed. It forgets that the size is fixed if the file itself asks for a dynamic
/// one.
pub fn has_fixed_size(root: &Object, pretrained: &Object) -> Result<bool> {
    let asked = root.object("model_args")?.map_or(Ok(None), |own| own.bool("dynamic_img_size"))?.unwrap_or(false);
    Ok(pretrained.bool("fixed_input_size")?.unwrap_or(false) && !asked)
}

/// Returns the image size that the model runs at, and the size that timm builds it for. They differ if the size is
/// dynamic; timm then resamples the position table twice.
pub fn image_sizes(root: &Object, args: &Object, pretrained: &Object) -> Result<([usize; 2], [usize; 2])> {
    let (own, fixed) = (args.pair("img_size")?, has_fixed_size(root, pretrained)?);
    let input = input_size(pretrained)?.map(|[_, height, width]| [height, width]);
    if args.bool("dynamic_img_size")?.unwrap_or(false) {
        let built = own.or(input.filter(|_| fixed)).unwrap_or([224, 224]);
        return Ok((input.unwrap_or(built), built));
    }
    let image = own.or(input).unwrap_or([224, 224]);
    Ok((image, image))
}

/// Returns the image size that the weights were saved for (timm's `get_pretrained_grid_size`). What a name implies does not count.
pub fn saved_size(root: &Object, pretrained: &Object) -> Result<[usize; 2]> {
    let own = root.object("model_args")?.map_or(Ok(None), |own| own.pair("img_size"))?;
    Ok(own.or(input_size(pretrained)?.map(|[_, height, width]| [height, width])).unwrap_or([224, 224]))
}

/// A norm layer: whether it is RMSNorm, and its epsilon.
#[derive(Clone, Copy, PartialEq)]
pub struct NormLayer {
    pub rms: bool,
    pub epsilon: f32,
}

/// Reads a norm layer, given by its name or with an epsilon; `None` if the field is absent.
pub fn norm_layer(args: &Object, key: &str) -> Result<Option<NormLayer>> {
    let Some(value) = args.get(key) else { return Ok(None) };
    let (name, epsilon) = match value {
        Value::Object(norm) => {
            let epsilon = norm.get("eps").and_then(Value::as_f64).ok_or_else(|| args.wrong(key, "an epsilon"))?;
            (norm.get("fn").and_then(Value::as_str), epsilon)
        }
        value => (value.as_str(), 1e-6),
    };
    match name.map(str::to_lowercase).as_deref() {
        Some("layernorm") => Ok(Some(NormLayer { rms: false, epsilon: epsilon as f32 })),
        Some("rmsnorm") => Ok(Some(NormLayer { rms: true, epsilon: epsilon as f32 })),
        _ => Err(args.unsupported(key, "LayerNorm, RmsNorm")),
    }
}

/// Reads `norm_layer`, which is LayerNorm if it is absent.
pub fn norm(args: &Object) -> Result<NormLayer> {
    Ok(norm_layer(args, "norm_layer")?.unwrap_or(NormLayer { rms: false, epsilon: 1e-6 }))
}

pub fn activation(args: &Object) -> Result<Activation> {
    match args.string("act_layer")?.map(str::to_lowercase).as_deref() {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_tanh") => Ok(Activation::GeluTanh),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("relu") => Ok(Activation::Relu),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some(_) => Err(args.unsupported("act_layer", "gelu, gelu_tanh, quick_gelu, relu, silu")),
    }
}

/// Output width of the MLP's first layer.
pub fn mlp_inner(args: &Object, width: usize) -> Result<usize> {
    let inner = (width as f64 * args.number("mlp_ratio")?.unwrap_or(4.0)) as usize;
    match (1..=1 << 20).contains(&inner) {
        true => Ok(inner),
        false => Err(args.wrong("mlp_ratio", "a factor that gives a width from 1 to 1048576")),
    }
}

/// Form of an MLP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// timm's `Mlp`.
    Plain,
    /// `SwiGLUPacked`, or the equivalent `GluMlp`: gate and values are halves of one layer. Its own `act_layer` gives way to the model's.
    Packed,
    /// `SwiGLU`: gate and values are two layers.
    Separate,
}

pub fn mlp(args: &Object) -> Result<Mlp> {
    match args.get("mlp_layer") {
        None => Ok(Mlp::Plain),
        Some(Value::String(name)) if name == "Mlp" => Ok(Mlp::Plain),
        Some(Value::String(name)) if name == "SwiGLUPacked" => Ok(Mlp::Packed),
        Some(Value::String(name)) if name == "SwiGLU" => Ok(Mlp::Separate),
        Some(layer) if layer["fn"] == "GluMlp" && layer["act_layer"] == "SiLU" && layer["gate_last"] == false => Ok(Mlp::Packed),
        Some(_) => Err(args.unsupported("mlp_layer", "Mlp, SwiGLU, SwiGLUPacked")),
    }
}
