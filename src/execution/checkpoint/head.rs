//! A classifier in its own file, to replace a model's classifiers or to be added to them.

use super::files::Files;
use super::json::Object;
use super::weights::{Linear, Weight};
use super::{Checkpoint, labels};
use crate::data::config::{Classifier, Probabilities, Reads};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use std::path::Path;

/// Dense layer from features to classes.
#[derive(Clone, Debug)]
pub struct Head {
    /// Weight `[classes, features]`, bias `[classes]`.
    linear: Linear<Weight>,
    labels: Vec<String>,
}

impl Head {
    /// Reads a safetensors file with one matrix `[classes, features]`, named `weight` or anything ending in `.weight`
    /// (`head.weight`, `classifier.weight`), and optionally its bias. Metadata may contain `labels`, a JSON list of class
    /// names.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] if the file is missing or damaged, does not have exactly one matrix, has tensors
    /// besides the matrix and its bias, or has the wrong number of labels; [`Error::Tensor`] if the matrix is empty, or a
    /// tensor has the wrong shape or type.
    pub fn open(path: impl AsRef<Path>) -> Result<Head> {
        let path = path.as_ref();
        let files = Files::open_file(path)?;
        let is_weight = |name: &str| name == "weight" || name.ends_with(".weight");
        let mut matrices: Vec<&str> = files.names().filter(|name| is_weight(name) && files.shape(name).is_ok_and(|shape| shape.len() == 2)).collect();
        matrices.sort_unstable();
        let &[name] = matrices.as_slice() else {
            let found = match matrices.as_slice() {
                [] => "found none".to_owned(),
                [first, ..] => format!("found {} matrices, {first} among them; is it a whole model?", matrices.len()),
            };
            return Err(Error::file(path, format!("expected one matrix called weight, head.weight or classifier.weight, {found}")));
        };
        let bias_name = format!("{}bias", name.trim_end_matches("weight"));
        if let Some(other) = files.names().find(|other| *other != name && *other != bias_name) {
            return Err(Error::file(path, format!("expected only {name} and {bias_name}, found {other} too; a head is one dense layer")));
        }
        let weight = files.tensor(name)?;
        let classes = weight.shape()[0];
        if weight.is_empty() {
            return Err(Error::tensor(name, format!("expected [classes, features], found {:?} in {}", weight.shape(), path.display())));
        }
        let bias = match files.has(&bias_name) {
            true => files.shaped(&bias_name, &[classes])?,
            false => Tensor::zeros([classes]),
        };
        let names = match files.metadata("labels") {
            None => None,
            Some(text) => Object::parse(path, format!("{{\"labels\": {text}}}").as_bytes())?.labels("labels")?,
        };
        if names.as_ref().is_some_and(|names| names.len() != classes) {
            return Err(Error::file(path, format!("{} labels for {classes} classes", names.map_or(0, |names| names.len()))));
        }
        let learned = [weight.len(), if files.has(&bias_name) { classes } else { 0 }];
        let linear = Linear {
            weight: Weight { name: name.to_owned(), tensor: weight, learned: learned[0] },
            bias: Weight { name: bias_name, tensor: bias, learned: learned[1] },
        };
        Ok(Head { linear, labels: labels(names, classes) })
    }
}

impl Checkpoint {
    /// Removes the classifiers.
    pub fn without_heads(mut self) -> Checkpoint {
        self.config.classifiers.clear();
        self.config.pre_logits = None;
        self.weights.pre_logits = None;
        self.weights.heads.clear();
        self
    }

    /// Adds a classifier with the output `logits_NAME`. With an empty name it replaces all others, and its output is `logits`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model takes texts; if the name is taken, or has characters other than ASCII letters, digits, `_`, `-` and `.`; or if the
    /// head does not read as many features as the model outputs.
    pub fn with_head(self, name: &str, head: Head) -> Result<Checkpoint> {
        let mut checkpoint = if name.is_empty() { self.without_heads() } else { self };
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter)) {
            return Err(Error::argument("name", format!("{name:?}: expected letters, digits, _, - and .")));
        }
        if checkpoint.config.is_text() {
            return Err(Error::argument("head", format!("{} takes texts; heads classify images", checkpoint.config.name)));
        }
        if checkpoint.config.classifiers.iter().any(|classifier| classifier.name == name) {
            return Err(Error::argument("name", format!("a head named {name:?} already exists; choose another name")));
        }
        let (found, expected) = (head.linear.weight.tensor.shape()[1], checkpoint.config.feature_width());
        if found != expected {
            return Err(Error::argument(
                "head",
                format!("{} takes {found} features, but {} has {expected}", head.linear.weight.name, checkpoint.config.name),
            ));
        }
        let classes = head.linear.weight.tensor.shape()[0];
        checkpoint.config.classifiers.push(Classifier {
            name: name.to_owned(),
            reads: Reads::Features,
            classes,
            labels: head.labels,
            probabilities: Probabilities::Softmax,
        });
        // Weights are identified by their names.
        let named = |weight: Weight| Weight { name: format!("{}{}{}", name, if name.is_empty() { "" } else { ":" }, weight.name), ..weight };
        checkpoint.weights.heads.push(Linear { weight: named(head.linear.weight), bias: named(head.linear.bias) });
        Ok(checkpoint)
    }
}
