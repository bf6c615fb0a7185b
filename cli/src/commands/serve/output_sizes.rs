//! Sizes of outputs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::task::block_in_place;
use vitraux::{Model, Result};

/// Number of kinds of requests whose sizes are kept. A client may make any number of them.
const KEPT: usize = 256;

/// Shape of an image, and names of outputs.
type Kind = (Vec<usize>, Vec<String>);

/// Sizes of outputs per image, which take as long to find as an image of a small model to compute.
#[derive(Default)]
pub struct OutputSizes(Mutex<HashMap<Kind, usize>>);

impl OutputSizes {
    /// Returns the bytes of outputs of an image `[1, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Model::output_shapes`].
    pub fn of(&self, model: &Model, image: &[usize], outputs: &[String]) -> Result<usize> {
        let key = (image.to_vec(), outputs.to_vec());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().get(&key) {
            return Ok(*bytes);
        }
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let shapes = block_in_place(|| model.output_shapes(image, &names))?;
        let bytes = shapes.values().map(|shape| shape.iter().product::<usize>() * size_of::<f32>()).sum();
        let mut kept = lock();
        if kept.len() == KEPT {
            let any = kept.keys().next().expect("there are some").clone();
            kept.remove(&any);
        }
        kept.insert(key, bytes);
        Ok(bytes)
    }
}
