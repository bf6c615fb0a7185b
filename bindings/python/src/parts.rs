//! Tensors in parts: inputs and outputs of several passes.

use std::collections::BTreeMap;
use std::ops::Range;
use vitraux::{Outputs, Tensor};

/// Returns some rows of a tensor along the first axis.
pub fn part(tensor: &Tensor, rows: Range<usize>) -> vitraux::Result<Tensor> {
    let shape = tensor.shape();
    if rows.len() == shape[0] {
        return Ok(tensor.clone());
    }
    let values = tensor.values();
    let row = shape[1..].iter().product::<usize>();
    Tensor::new([&[rows.len()], &shape[1..]].concat(), values[rows.start * row..rows.end * row].to_vec())
}

/// Outputs of several passes.
#[derive(Default)]
pub struct Parts(BTreeMap<String, Vec<Tensor>>);

impl Parts {
    pub fn add(&mut self, outputs: Outputs) {
        outputs.into_iter().for_each(|(name, tensor)| self.0.entry(name).or_default().push(tensor));
    }

    pub fn joined(self) -> vitraux::Result<Outputs> {
        self.0.into_iter().map(|(name, parts)| joined(&name, parts).map(|tensor| (name, tensor))).collect()
    }
}

/// Joins outputs of several passes along the first axis.
pub fn joined(name: &str, mut parts: Vec<Tensor>) -> vitraux::Result<Tensor> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let mut shape = parts[0].shape().to_vec();
    if let Some(other) = parts.iter().find(|part| part.shape()[1..] != shape[1..]) {
        let message = format!("{name} has the shapes {:?} and {:?}: give images of one size", &shape[1..], &other.shape()[1..]);
        return Err(vitraux::Error::Argument { argument: "images", message });
    }
    shape[0] = parts.iter().map(|part| part.shape()[0]).sum();
    let mut values = Vec::with_capacity(shape.iter().product());
    parts.iter().for_each(|part| values.extend_from_slice(&part.values()));
    Tensor::new(shape, values)
}
