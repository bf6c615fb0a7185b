//! Calls of a class, for those who measure which kernel suits it.

use super::attention::{self, attention};
use super::matmul::{Epilogue, matmul};
use super::matmul_rungs;
use crate::capabilities::{Capabilities, Needs};
use crate::error::Result;
use crate::record::{Class, Recording};

/// The ways that a device can compute what is of a class, the one that is taken by rule first. The kernel as one reads it is not
/// among them.
pub fn candidates(class: Class, capabilities: &Capabilities) -> Vec<&'static str> {
    let ways: Vec<(&str, Needs)> = match class {
        Class::Product { m, k, precision, .. } => {
            let ladder = matmul_rungs::ladder([m, k], precision, capabilities);
            ladder.iter().map(|rung| (rung.name, rung.kernel.needs)).collect()
        }
        Class::Attention { head, precision, .. } => {
            attention::ladder(head, false, precision, capabilities).iter().map(|kernel| (kernel.name, kernel.needs)).collect()
        }
    };
    ways.into_iter().filter(|(name, needs)| needs.met_by(capabilities) && *name != "matmul_naive").map(|(name, _)| name).collect()
}

/// Records a call of a class on inputs, and saves its result.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn sample(recording: &mut Recording, class: Class) -> Result<()> {
    let y = match class {
        Class::Product { m, n, k, .. } => {
            let x = recording.input("x", &[m, k])?;
            let w = recording.input_factor("w", [n, k])?;
            let bias = recording.input("bias", &[n])?;
            let y = recording.scratch("y", &[m, n])?;
            matmul(recording, "sample".to_owned(), x, [w, bias], Epilogue::Bias, y)?;
            y
        }
        Class::Attention { heads, tokens, queries, head, .. } => {
            let qkv = recording.input("qkv", &[1, tokens, 3 * heads * head])?;
            let y = recording.scratch("y", &[1, queries, heads * head])?;
            attention(recording, "sample".to_owned(), qkv, heads, None, y)?;
            y
        }
    };
    recording.save("y", y);
    Ok(())
}
