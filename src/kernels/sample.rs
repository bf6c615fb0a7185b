//! Calls of a class, for those who measure which variant suits it.

use super::attention::attention;
use super::matmul::{Epilogue, matmul};
use super::{attention as of_attention, matmul as of_matmul};
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::record::{Class, Kernel, Recording};

/// The variants by which a device can compute calls of a class, the one that is taken by rule first.
pub fn variants(class: Class, capabilities: &Capabilities) -> Vec<&'static Kernel> {
    match class {
        Class::Product { m, n, k, x, w } => {
            let sizes = of_matmul::variants::Sizes { m, n, k, x, w };
            of_matmul::variants::suitable(&sizes, capabilities).into_iter().map(|variant| &variant.kernel).collect()
        }
        Class::Attention { queries, head, qkv, .. } => {
            let sizes = of_attention::variants::Sizes { queries, head, is_masked: false, qkv };
            of_attention::variants::suitable(&sizes, capabilities).into_iter().map(|variant| &variant.kernel).collect()
        }
    }
}

/// Records a call of a class on inputs, and saves its result, which is kept in what the left factor is.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn sample(recording: &mut Recording, class: Class) -> Result<()> {
    let y = match class {
        Class::Product { m, n, k, x: x_precision, .. } => {
            let x = recording.input_in("x", &[m, k], x_precision)?;
            let w = recording.input_factor("w", [n, k])?;
            let bias = recording.input("bias", &[n])?;
            let y = recording.scratch_in("y", &[m, n], x_precision)?;
            matmul(recording, "sample".to_owned(), x, [w, bias], Epilogue::Bias, y)?;
            y
        }
        Class::Attention { heads, tokens, queries, head, qkv } => {
            let y = recording.scratch_in("y", &[1, queries, heads * head], qkv)?;
            let qkv = recording.input_in("qkv", &[1, tokens, 3 * heads * head], qkv)?;
            attention(recording, "sample".to_owned(), qkv, heads, None, y)?;
            y
        }
    };
    recording.save("y", y);
    Ok(())
}
