//! Sample calls for tuning keys, used in measurements.

use super::attention::{Mask, attention};
use super::matmul::{Epilogue, matmul};
use super::{attention as of_attention, matmul as of_matmul};
use crate::data::capabilities::{Capabilities, Precision};
use crate::data::config::Activation;
use crate::data::error::Result;
use crate::data::record::{Buf, Kernel, Recording, TuningKey};

/// Returns the variants that a device can run for a key, fastest expected first.
pub fn variants(key: TuningKey, capabilities: &Capabilities) -> Vec<&'static Kernel> {
    match key {
        TuningKey::Product { m, n, k, x, w } => {
            let sizes = of_matmul::variants::Sizes { m, n, k, x, w };
            of_matmul::variants::suitable(&sizes, capabilities).into_iter().map(|variant| &variant.kernel).collect()
        }
        TuningKey::Attention { queries, head, qkv, .. } => {
            let sizes = of_attention::variants::Sizes { queries, head, mask: of_attention::mask::MaskKind::None, qkv };
            of_attention::variants::suitable(&sizes, capabilities).into_iter().map(|variant| &variant.kernel).collect()
        }
    }
}

/// Epilogue of a sample product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleEpilogue {
    /// y = x · wᵀ + bias, in the precision of x.
    Bias,
    /// y = x · wᵀ + bias, in f32.
    WideBias,
    /// y = activation(x · wᵀ + bias), in the precision of x.
    Activation(Activation),
    /// y = 2 (x · wᵀ + bias), in f32.
    Residual,
    /// y = (1 + bias) (x · wᵀ + bias), in f32.
    ScaledResidual,
}

impl SampleEpilogue {
    /// Returns one epilogue for each pipeline that a model creates from a variant.
    pub fn all() -> impl Iterator<Item = SampleEpilogue> {
        use SampleEpilogue::{Bias, Residual, ScaledResidual, WideBias};
        [Bias, WideBias, Residual, ScaledResidual].into_iter().chain(Activation::ALL.map(SampleEpilogue::Activation))
    }
}

/// Records a sample call for a key and returns its result. Attention has no epilogue; its result has the precision of qkv.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn sample(recording: &mut Recording, key: TuningKey, end: SampleEpilogue) -> Result<Buf> {
    Ok(match key {
        TuningKey::Product { m, n, k, x: x_precision, .. } => {
            let x = recording.input_in("x", &[m, k], x_precision)?;
            let w = recording.input_factor("w", [n, k])?;
            let bias = recording.input("bias", &[n])?;
            let (epilogue, is_residual, written) = match end {
                SampleEpilogue::Bias => (Epilogue::Bias, false, x_precision),
                SampleEpilogue::WideBias => (Epilogue::Bias, false, Precision::F32),
                SampleEpilogue::Activation(activation) => (Epilogue::Activation(activation), false, x_precision),
                SampleEpilogue::Residual => (Epilogue::Residual, true, Precision::F32),
                SampleEpilogue::ScaledResidual => (Epilogue::ScaledResidual(bias), true, Precision::F32),
            };
            let y = recording.scratch_in("y", &[m, n], written)?;
            if is_residual {
                matmul(recording, "before".to_owned(), x, [w, bias], Epilogue::Bias, y)?;
            }
            matmul(recording, "sample".to_owned(), x, [w, bias], epilogue, y)?;
            y
        }
        TuningKey::Attention { heads, tokens, queries, head, qkv } => {
            let y = recording.scratch_in("y", &[1, queries, heads * head], qkv)?;
            let qkv = recording.input_in("qkv", &[1, tokens, 3 * heads * head], qkv)?;
            attention(recording, "sample".to_owned(), qkv, heads, Mask::None, y)?;
            y
        }
    })
}
