//! transformers' layout: `config.json` with a `model_type`, and `preprocessor_config.json`.
//!
//! Source: transformers 5's `models/`. Defaults are those of its configuration classes.

mod aimv2;
mod beit;
mod clip;
mod dense;
mod depth_anything;
mod dinov2;
mod dinov3;
mod dpt;
mod processor;
mod text;
mod tipsv2;
mod vit;

pub use processor::preprocess;

use super::json::Object;
use super::{Files, Outline};
use crate::data::config::{Activation, Classifier, Edge, Patches, Probabilities, Reads};
use crate::data::error::{Error, Result};

type Read = fn(&Object, Option<&Files>) -> Result<Outline>;

/// Supported `model_type`s and their readers.
const MODEL_TYPES: &[(&str, Read)] = &[
    ("vit", vit::read),
    ("deit", vit::read),
    ("vit_mae", vit::read),
    ("vit_msn", vit::read),
    ("ijepa", vit::read),
    ("vit-hybrid", vit::read),
    ("dinov2", dinov2::read),
    ("dinov2_with_registers", dinov2::read),
    ("dinov3_vit", dinov3::read),
    ("tipsv2", tipsv2::read),
    (tipsv2::MODEL_TYPE, tipsv2::read),
    ("beit", beit::read),
    ("aimv2", aimv2::read),
    ("aimv2_vision_model", aimv2::read),
    ("clip", clip::read),
    ("clip_vision_model", clip::read),
    ("siglip", clip::read),
    ("siglip_vision_model", clip::read),
    ("siglip2", clip::read),
    ("siglip2_vision_model", clip::read),
    ("clip_text_model", text::read),
    ("siglip_text_model", text::read),
    ("siglip2_text_model", text::read),
    ("dpt", dpt::read),
    ("depth_anything", depth_anything::read),
];

/// Interprets a `config.json` with a `model_type`. Some sizes are known only from the tensors.
pub fn read(root: &Object, files: Option<&Files>) -> Result<Outline> {
    let Some(name) = root.string("model_type")? else {
        return Err(root.error("found neither timm's architecture nor transformers' model_type; expected the config.json of a Vision Transformer"));
    };
    let result = match MODEL_TYPES.iter().find(|(known, _)| *known == name) {
        Some((_, read)) => read(root, files),
        None => Err(Error::unsupported(root.path(), format!("model_type {name:?} is not supported"))),
    };
    match result {
        Err(Error::Unsupported { message, .. }) => Err(refused(root, name, message, files)),
        result => result,
    }
}

/// Builds the error for an unsupported model, with the nearest supported `model_type` (its own, if supported) and the first mismatched tensor.
fn refused(root: &Object, name: &str, message: String, files: Option<&Files>) -> Error {
    let reader = |name: &str| MODEL_TYPES.iter().find(|(known, _)| *known == name).map(|(_, read)| read);
    let plain = |name: &str| {
        let config = serde_json::json!({ "model_type": name });
        Object::parse(root.path(), config.to_string().as_bytes()).expect("an object")
    };
    let outlined = |name: &str| reader(name)?(&plain(name), files).ok();
    let nearest = match reader(name) {
        Some(_) => Some(name.to_owned()),
        None => super::nearest(name, MODEL_TYPES.iter().map(|(known, _)| *known), outlined, files),
    };
    let Some(nearest) = nearest else {
        return Error::unsupported(root.path(), format!("{message}, and its tensors are not those of a Vision Transformer"));
    };
    let named = root.clone().with("model_type", nearest.clone().into()).with("architectures", serde_json::Value::Null);
    let read = reader(&nearest).expect("it is one of those that are run");
    // If the file's own fields do not fit that model either, compare its tensors with the model's defaults.
    super::refusal(root.path(), message, &nearest, || read(&named, files).or_else(|_| read(&plain(&nearest), files)), files)
}

/// Returns the class that the checkpoint was saved from, or `guess` if none is given.
fn class<'a>(root: &'a Object, guess: &'a str) -> Result<&'a str> {
    match root.get("architectures").filter(|list| list.as_array().is_none_or(|list| !list.is_empty())) {
        None => Ok(guess),
        Some(list) => list.get(0).and_then(|name| name.as_str()).ok_or_else(|| root.wrong("architectures", "a list of class names")),
    }
}

fn has(files: Option<&Files>, name: &str) -> bool {
    files.is_some_and(|files| files.has(name))
}

/// Returns the first of `prefixes` under which the tensor `name` exists, else `prefixes[0]`. Task models and bare encoders
/// are saved both with and without a prefix.
fn prefix(files: Option<&Files>, prefixes: &[&'static str], name: &str) -> &'static str {
    prefixes.iter().find(|prefix| has(files, &format!("{prefix}{name}"))).unwrap_or(&prefixes[0])
}

/// Returns the classifier of a task model, with one class per name in `id2label`, else `num_labels` classes.
fn classifier(root: &Object) -> Result<Vec<Classifier>> {
    let labels = match root.labels("id2label")? {
        Some(names) => names,
        // transformers' placeholders, however many classes there are; a thousand need not be ImageNet's.
        None => (0..root.count("num_labels")?.unwrap_or(2)).map(|index| format!("LABEL_{index}")).collect(),
    };
    let classes = labels.len();
    // As transformers' pipelines do.
    let probabilities = match root.string("problem_type")? {
        Some("regression") => Probabilities::None,
        Some("multi_label_classification") => Probabilities::Sigmoid,
        _ if classes == 1 => Probabilities::Sigmoid,
        None | Some("single_label_classification") => Probabilities::Softmax,
        Some(_) => return Err(root.unsupported("problem_type", "single_label_classification, multi_label_classification, regression")),
    };
    let classifier = Classifier { name: String::new(), reads: Reads::Features, classes, labels, probabilities };
    Ok(if classes > 0 { vec![classifier] } else { Vec::new() })
}

/// Reads the patch geometry. `default` is the patch size if the file gives none.
fn patches(root: &Object, default: usize) -> Result<Patches> {
    let image = root.pair("image_size")?.unwrap_or([224, 224]);
    let size = root.pair("patch_size")?.unwrap_or([default; 2]);
    Ok(Patches::new(root.size("num_channels")?.unwrap_or(3), image, size, Edge::Ignore))
}

fn activation(root: &Object, key: &str) -> Result<Option<Activation>> {
    match root.string(key)? {
        None => Ok(None),
        Some("gelu" | "gelu_python") => Ok(Some(Activation::Gelu)),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate") => Ok(Some(Activation::GeluTanh)),
        Some("quick_gelu") => Ok(Some(Activation::QuickGelu)),
        Some("relu") => Ok(Some(Activation::Relu)),
        Some("silu" | "swish") => Ok(Some(Activation::Silu)),
        Some("tanh") => Ok(Some(Activation::Tanh)),
        Some(_) => Err(root.unsupported(key, "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, silu, tanh")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn thousand_unnamed_classes_are_numbered() {
        let root = Object::parse(Path::new("config.json"), br#"{ "num_labels": 1000 }"#).expect("an object");
        let found = classifier(&root).expect("a classifier").remove(0);
        assert_eq!((found.classes, found.labels[0].as_str(), found.labels[999].as_str()), (1000, "LABEL_0", "LABEL_999"));
    }
}
