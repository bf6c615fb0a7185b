//! Which model something was made with.

use vitraux::Checkpoint;

/// Values of each weight that tell which model it is: all of biases and norms, and the beginning of others, which any training moves.
const SAMPLE: usize = 4096;

/// What tells models apart: what is computed, how images are prepared, and values of all weights.
pub fn fingerprint(checkpoint: &Checkpoint) -> String {
    let mut hash = crc32fast::Hasher::new();
    hash.update(format!("{:?} {:?}", checkpoint.config, checkpoint.preprocess).as_bytes());
    for weight in &checkpoint.numbered_weights() {
        let values = weight.tensor.values();
        hash.update(weight.name.as_bytes());
        hash.update(bytemuck::cast_slice(&values[..values.len().min(SAMPLE)]));
    }
    format!("{} {:08x}", checkpoint.config.name, hash.finalize())
}
