//! Fingerprints of models.

use vitraux::Checkpoint;

/// Values of each weight that identify a model: all of biases and norms, and the beginning of the others. Any training changes them.
const SAMPLE: usize = 4096;

/// Returns what identifies a model: its configuration, its preprocessing, and values of all weights.
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
