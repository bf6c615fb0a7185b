//! Fingerprints of models.

use super::Result;
use vitraux::Checkpoint;

/// Returns what identifies a model: its configuration, its preprocessing, and a sample of each weight, which any training changes.
pub fn fingerprint(checkpoint: &Checkpoint) -> Result<String> {
    let mut hash = crc32fast::Hasher::new();
    hash.update(format!("{:?} {:?}", checkpoint.config(), checkpoint.preprocess).as_bytes());
    for weight in &checkpoint.numbered_weights() {
        hash.update(weight.name.as_bytes());
        hash.update(bytemuck::cast_slice(&weight.sample()?));
    }
    Ok(format!("{} {:08x}", checkpoint.config().name, hash.finalize()))
}
