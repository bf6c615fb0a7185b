//! Fingerprints of models.

use vitraux::Checkpoint;

/// Values of each weight that identify a model, about, spread evenly. Any training changes them;
/// an adapter may change a part of a weight, such as the values' rows among those of queries and keys.
const SAMPLE: usize = 512;

/// Returns what identifies a model: its configuration, its preprocessing, and values of all weights.
pub fn fingerprint(checkpoint: &Checkpoint) -> String {
    let mut hash = crc32fast::Hasher::new();
    hash.update(format!("{:?} {:?}", checkpoint.config, checkpoint.preprocess).as_bytes());
    for weight in &checkpoint.numbered_weights() {
        let values = weight.tensor.values();
        let sample: Vec<f32> = values.iter().copied().step_by(values.len().div_ceil(SAMPLE).max(1)).collect();
        hash.update(weight.name.as_bytes());
        hash.update(bytemuck::cast_slice(&sample));
    }
    format!("{} {:08x}", checkpoint.config.name, hash.finalize())
}
