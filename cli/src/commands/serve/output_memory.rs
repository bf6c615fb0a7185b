//! Memory for the outputs of requests, whose sizes are known before they are computed.

use super::failure::Failure;
use super::memory::{Memory, Share};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::block_in_place;
use vitraux::{Model, Result, Tensor};

/// Number of kinds of images whose sizes are kept. A client may ask for any number of them.
const KEPT: usize = 256;

/// Shape of an image, and names of outputs.
type Kind = (Vec<usize>, Vec<String>);

/// Memory for the outputs of requests.
pub struct OutputMemory {
    memory: Arc<Memory>,
    /// Bytes of a request's outputs, at most.
    largest: usize,
    /// Bytes per image, which take as long to find as an image of a small model to compute.
    sizes: Mutex<HashMap<Kind, usize>>,
}

impl OutputMemory {
    pub fn new(memory: Arc<Memory>, largest: usize) -> OutputMemory {
        OutputMemory { memory, largest, sizes: Mutex::default() }
    }

    /// Takes a share for outputs of images `[1, channels, height, width]`.
    ///
    /// # Errors
    /// If an output is unknown, or if the outputs take too much memory.
    pub fn take(&self, model: &Model, images: &[Tensor], outputs: &[String]) -> std::result::Result<Share, Failure> {
        let mut bytes = 0;
        // Nearly always all have one size.
        for images in images.chunk_by(|a, b| a.shape() == b.shape()) {
            bytes += images.len() * self.size(model, images[0].shape(), outputs).map_err(|error| Failure::of_pass(&error))?;
        }
        if bytes > self.largest {
            let [found, most] = [bytes, self.largest].map(|bytes| bytes.div_ceil(1 << 20));
            let message = format!("expected outputs of at most {most} MiB per request, found {found} MiB; ask for fewer, or raise --max-body");
            return Err(Failure::invalid(message));
        }
        self.memory.take(bytes)
    }

    /// Returns the bytes of outputs of an image.
    fn size(&self, model: &Model, image: &[usize], outputs: &[String]) -> Result<usize> {
        let key = (image.to_vec(), outputs.to_vec());
        let lock = || self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().get(&key) {
            return Ok(*bytes);
        }
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let shapes = block_in_place(|| model.output_shapes(image, &names))?;
        let bytes = shapes.values().map(|shape| shape.iter().product::<usize>() * size_of::<f32>()).sum();
        let mut sizes = lock();
        if sizes.len() == KEPT {
            let any = sizes.keys().next().expect("there are some").clone();
            sizes.remove(&any);
        }
        sizes.insert(key, bytes);
        Ok(bytes)
    }
}
