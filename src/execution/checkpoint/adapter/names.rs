//! Names of an adapter's tensors, and of the tensors they belong to.

use crate::data::error::{Error, Result};
use crate::execution::checkpoint::files::Files;

/// Start of the names of all tensors.
pub const PREFIX: &str = "base_model.model.";

/// What a tensor of an adapter is.
pub enum Role<'a> {
    /// A, the first factor.
    Down,
    /// B, the second factor.
    Up,
    /// A tensor that replaces the model's: a parameter of the module by its name.
    Whole(&'a str),
}

impl<'a> Role<'a> {
    /// Returns the module that a tensor belongs to, and what it is there.
    pub fn of(name: &'a str) -> Result<(&'a str, Role<'a>)> {
        let unknown = || Error::tensor(name, "expected base_model.model.MODULE with lora_A.weight, lora_B.weight or a parameter, found another name");
        let (module, parameter) = name.strip_prefix(PREFIX).and_then(|path| path.rsplit_once('.')).ok_or_else(unknown)?;
        if let (Some(module), "weight") = (module.strip_suffix(".lora_A"), parameter) {
            return Ok((module, Role::Down));
        }
        if let (Some(module), "weight") = (module.strip_suffix(".lora_B"), parameter) {
            return Ok((module, Role::Up));
        }
        match module.split('.').any(|part| part.starts_with("lora_")) || parameter.starts_with("lora_") {
            true => Err(unknown()),
            // peft's wrapper of a layer whose bias is saved.
            false => Ok((module.strip_suffix(".base_layer").unwrap_or(module), Role::Whole(parameter))),
        }
    }
}

/// Names of encoders in task models. Checkpoints of encoders alone do without them, and adapters are trained on either.
const ENCODERS: [&str; 8] = ["vit.", "deit.", "ijepa.", "dinov2.", "dinov2_with_registers.", "vision_model.", "model.", "timm_model."];

/// Modules of attention in transformers 5, and their names in checkpoints.
const ATTENTION: [(&str, &str); 4] = [
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
];

/// The MLP of ViT and its relatives.
const MLP: [(&str, &str); 2] = [("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense")];

/// The gated MLP of DINOv2.
const GATED: [(&str, &str); 1] = [("mlp.down_proj", "mlp.weights_out")];

/// Returns the tensor of a model that a parameter of a module is: by its own name, or by that in checkpoints, with or without the encoder's name.
pub fn found(files: &Files, module: &str, parameter: &str) -> Option<String> {
    let names = std::iter::once(module.to_owned()).chain(hub_name(module)).map(|module| format!("{module}.{parameter}"));
    names.into_iter().find_map(|name| {
        let with = || ENCODERS.iter().map(|encoder| format!("{encoder}{name}"));
        let without = || ENCODERS.iter().filter_map(|encoder| name.strip_prefix(encoder)).map(str::to_owned);
        std::iter::once(name.clone()).chain(without()).chain(with()).find(|name| files.has(name))
    })
}

/// Returns the name in checkpoints of a module of transformers 5. Source: its `conversion_mapping.py`.
fn hub_name(module: &str) -> Option<String> {
    // ViT's blocks are renamed, DINOv2's are not.
    let (front, block) = match module.split_once("encoder.layer.") {
        Some(parts) => parts,
        None => module.split_once("layers.")?,
    };
    let (number, part) = block.split_once('.')?;
    let (_, part) = ATTENTION.iter().chain(&MLP).chain(&GATED).find(|(new, _)| *new == part)?;
    Some(format!("{front}encoder.layer.{number}.{part}"))
}
