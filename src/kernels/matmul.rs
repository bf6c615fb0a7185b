use super::{rows, size};
use crate::config::Activation;
use crate::cpu::matmul::{self as twin, Params};
use crate::error::Result;
use crate::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, Twin, View, read, write};

pub static MATMUL_BIAS: Kernel = kernel("matmul_bias", PLAIN, twin::matmul_bias);
pub static MATMUL_BIAS_ACTIVATION: Kernel = kernel("matmul_bias_activation", PLAIN, twin::matmul_bias_activation);
pub static MATMUL_BIAS_RESIDUAL: Kernel = kernel("matmul_bias_residual", PLAIN, twin::matmul_bias_residual);
pub static MATMUL_BIAS_SCALE_RESIDUAL: Kernel = kernel("matmul_bias_scale_residual", SCALED, twin::matmul_bias_scale_residual);

const PLAIN: &[Binding] = &[read(1, "x"), read(2, "w"), read(3, "bias"), write(5, "y")];
const SCALED: &[Binding] = &[read(1, "x"), read(2, "w"), read(3, "bias"), read(4, "scale"), write(5, "y")];

const fn kernel(name: &'static str, bindings: &'static [Binding], twin: Twin) -> Kernel {
    Kernel { name, wgsl: include_str!("../../shaders/matmul.wgsl"), params: Params::FIELDS, bindings, twin }
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue {
    /// y = x · wᵀ + bias.
    Bias,
    /// y = activation(x · wᵀ + bias).
    Activation(Activation),
    /// y += x · wᵀ + bias.
    Residual,
    /// y += scale · (x · wᵀ + bias), with the scale `[N]` of LayerScale (Touvron et al. 2021).
    ScaledResidual(Buf),
}

/// Records a product: x `[.., K]`, w `[N, K]`, bias `[N]`, y `[.., N]`. A weight larger than one binding may
/// be is read in bands of rows, a dispatch each.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn matmul(recording: &mut Recording, label: String, x: Buf, [w, bias]: [Buf; 2], epilogue: Epilogue, y: Buf) -> Result<()> {
    let (m, k) = rows(recording.shape(x));
    let (m_out, n) = rows(recording.shape(y));
    assert_eq!(m, m_out, "{label}: rows of x and y");
    assert_eq!(recording.shape(w), [n, k], "{label}: w");
    assert_eq!(recording.shape(bias), [n], "{label}: bias");
    let (kernel, spec) = match epilogue {
        Epilogue::Bias => (&MATMUL_BIAS, Spec::default()),
        Epilogue::Activation(activation) => (&MATMUL_BIAS_ACTIVATION, Spec(vec![("ACTIVATION", activation as u32)])),
        Epilogue::Residual => (&MATMUL_BIAS_RESIDUAL, Spec::default()),
        Epilogue::ScaledResidual(_) => (&MATMUL_BIAS_SCALE_RESIDUAL, Spec::default()),
    };
    let band = band_rows(n, k, recording.limits().binding_bytes);
    for first in (0..n).step_by(band) {
        let count = band.min(n - first);
        let columns = |buf| View { buf, offset: first, len: count };
        let mut views = vec![recording.all(x), View { buf: w, offset: first * k, len: count * k }, columns(bias)];
        if let Epilogue::ScaledResidual(scale) = epilogue {
            assert_eq!(recording.shape(scale), [n], "{label}: scale");
            views.push(columns(scale));
        }
        views.push(recording.all(y));
        recording.dispatch(Dispatch {
            kernel,
            spec: spec.clone(),
            params: bytemuck::bytes_of(&Params { m: size(m), n: size(count), k: size(k), stride: size(n), first: size(first) }).to_vec(),
            views,
            grid: [size(count.div_ceil(64)), size(m.div_ceil(64)), 1],
            label: label.clone(),
        })?;
    }
    Ok(())
}

/// Rows of w in a band: all of them, or a multiple of 64, so that each band begins at a multiple of
/// 256 bytes, the largest alignment that WebGPU lets a device ask for.
fn band_rows(n: usize, k: usize, binding_bytes: u64) -> usize {
    let fitting = usize::try_from(binding_bytes / (k as u64 * 4)).unwrap_or(usize::MAX);
    if fitting >= n { n } else { (fitting / 64 * 64).max(64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_as_large_as_a_binding_allows() {
        assert_eq!(band_rows(1000, 768, u64::MAX), 1000);
        assert_eq!(band_rows(1000, 768, 1000 * 768 * 4), 1000);
        assert_eq!(band_rows(1000, 768, 1000 * 768 * 4 - 1), 960);
        assert_eq!(band_rows(1000, 768, 1), 64);
    }
}
