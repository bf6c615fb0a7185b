//! Which model something was made with.

use vitraux::Checkpoint;

/// Weights of so many values at the most tell which model it is: biases and norms, which training moves too.
const SMALL: usize = 4096;

/// What tells models apart: what is computed, how pictures are prepared, and the values of small weights.
pub fn fingerprint(checkpoint: &Checkpoint) -> String {
    let mut hash = crc32fast::Hasher::new();
    hash.update(format!("{:?} {:?}", checkpoint.config, checkpoint.preprocess).as_bytes());
    for weight in checkpoint.numbered_weights().iter().filter(|weight| weight.tensor.len() <= SMALL) {
        hash.update(weight.name.as_bytes());
        hash.update(bytemuck::cast_slice(&weight.tensor.values()));
    }
    format!("{} {:08x}", checkpoint.config.name, hash.finalize())
}
