pub(crate) mod conv3x3;
pub(crate) mod variants;

use super::quantise::quantise;
use super::to_bf16::to_bf16;
use super::{in_blocks, rows, size};
use crate::data::capabilities::Precision;
use crate::data::config::Activation;
use crate::data::error::Result;
use crate::data::panels::{self, PANEL};
use crate::data::record::{Buf, Dispatch, Recording, Spec, TuningKey, View};
use crate::execution::cpu::matmul::Params;
use variants::{MATMUL_COMBINE, MATMUL_POWERS, Sizes, suitable};

/// Epilogue of a product.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue {
    /// y = x · wᵀ + bias.
    Bias,
    /// y = activation(x · wᵀ + bias).
    Activation(Activation),
    /// y += x · wᵀ + bias.
    Residual,
    /// y += scale · (x · wᵀ + bias), with the LayerScale factors `[N]` (Touvron et al. 2021).
    ScaledResidual(Buf),
}

impl Epilogue {
    /// Constants that select the epilogue in `shaders/matmul/call.wgsl`.
    fn constants(self) -> [(&'static str, u32); 2] {
        let (epilogue, activation) = match self {
            Epilogue::Bias => (0, 0),
            Epilogue::Activation(activation) => (1, activation as u32),
            Epilogue::Residual => (2, 0),
            Epilogue::ScaledResidual(_) => (3, 0),
        };
        [("EPILOGUE", epilogue), ("ACTIVATION", activation)]
    }
}

/// Records a product with the chosen variant: x `[.., K]`, w `[N, K]` in [`panels`], bias `[N]`, y `[.., N]`. A weight that exceeds the binding size
/// limit is processed in bands of rows, each dispatched separately.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn matmul(recording: &mut Recording, label: String, x: Buf, [w, bias]: [Buf; 2], epilogue: Epilogue, y: Buf) -> Result<()> {
    let (m, k) = rows(recording.shape(x));
    let (m_out, n) = rows(recording.shape(y));
    assert_eq!(m, m_out, "{label}: rows of x and y");
    let precision = recording.precision_of(w);
    let w_shape = panels::shape([n, k], precision);
    assert_eq!(recording.shape(w), w_shape, "{label}: w");
    assert_eq!(recording.shape(bias), [n], "{label}: bias");
    // Without scaling, the binding is not read.
    let scale = if let Epilogue::ScaledResidual(scale) = epilogue { scale } else { bias };
    assert_eq!(recording.shape(scale), [n], "{label}: scale");
    let sizes = Sizes { m, n, k, x: recording.precision_of(x), w: precision };
    let x = match precision {
        Precision::Bf16 => to_bf16(recording, &label, x)?,
        Precision::Int8 => quantise(recording, &label, x)?,
        Precision::F32 | Precision::F16 => x,
    };
    let capabilities = *recording.capabilities();
    let band = band_rows(n.next_multiple_of(PANEL), w_shape[1], precision.bits(), capabilities.binding_bytes);
    let variants = suitable(&sizes, &capabilities);
    let key = TuningKey::product([m, n, k], [sizes.x, sizes.w], &capabilities);
    let variant = variants[recording.choose(Some(key), variants.iter().map(|variant| &variant.kernel))];
    let (kernel, [tile_rows, tile_columns]) = (&variant.kernel, variant.shape.tile().map(|size| size as usize));
    let spec = variant.shape.specialised(kernel.spec.clone(), [m, n, k], band, &capabilities);
    let spec = if kernel.imports("common/x_f32") { spec.reading(sizes.x) } else { spec };
    let written = recording.precision_of(y);
    for first in (0..n).step_by(band) {
        let count = band.min(n - first);
        let part = recording.part(w, first * w_shape[1], count.next_multiple_of(PANEL) * w_shape[1]);
        let slices = variant.shape.slices;
        let grid = [size(count.div_ceil(tile_columns)), size(m.div_ceil(tile_rows)), slices];
        let flops = 2 * (m * count * k) as u64;
        let [bias, scale] = [bias, scale].map(|buf| recording.part(buf, first, count));
        let unit = (slices * variant.shape.depth()) as usize;
        let slice_depth = size(k.div_ceil(unit)) * variant.shape.depth();
        let params = Params { m: size(m), n: size(count), k: size(k), stride: size(n), first: size(first), slice_depth };
        let powers = match variant.shape.reads_powers() {
            true => {
                let powers = recording.shared_scratch("powers of two", &[m + count], Precision::F32)?;
                record_powers(recording, format!("{label}.powers"), [recording.all(x), part, recording.all(powers)], params)?;
                Some(recording.all(powers))
            }
            false => None,
        };
        let params = bytemuck::bytes_of(&params).to_vec();
        if slices > 1 {
            let sums = recording.shared_scratch("partial sums", &[slices as usize, m, count], Precision::F32)?;
            recording.dispatch(Dispatch {
                kernel,
                spec: spec.clone(),
                params: params.clone(),
                flops,
                views: [recording.all(x), part, recording.all(sums)].into_iter().chain(powers).collect(),
                grid,
                label: label.clone(),
            })?;
            recording.dispatch(Dispatch {
                kernel: &MATMUL_COMBINE,
                spec: MATMUL_COMBINE.spec.clone().with(epilogue.constants()).with([("SLICES", slices)]).writing(written),
                params,
                flops: 0,
                views: vec![recording.all(sums), bias, scale, recording.all(y)],
                grid: in_blocks(recording, m * count),
                label: format!("{label}.combine"),
            })?;
        } else {
            recording.dispatch(Dispatch {
                kernel,
                spec: spec.clone().with(epilogue.constants()).writing(written),
                params,
                flops,
                views: [recording.all(x), part, bias, scale, recording.all(y)].into_iter().chain(powers).collect(),
                grid,
                label: label.clone(),
            })?;
        }
    }
    Ok(())
}

/// Records the powers of two that scale the rows of x `[M, K]` and the columns of wᵀ, with w `[N, K]` in panels: y `[M + N]`. K and N are multiples
/// of 4.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn powers(recording: &mut Recording, label: String, [x, w]: [Buf; 2], y: Buf) -> Result<()> {
    let (m, k) = rows(recording.shape(x));
    let n = recording.all(y).len - m;
    let views = [x, w, y].map(|buf| recording.all(buf));
    record_powers(recording, label, views, Params { m: size(m), n: size(n), k: size(k), stride: size(n), first: 0, slice_depth: size(k) })
}

fn record_powers(recording: &mut Recording, label: String, views: [View; 3], params: Params) -> Result<()> {
    recording.dispatch(Dispatch {
        kernel: &MATMUL_POWERS,
        // Enough invocations to have all loads of a row in flight.
        spec: Spec::NONE.with([("WORKGROUP", 256)]),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: views.to_vec(),
        grid: recording.folded((params.m + params.n.div_ceil(16)) as usize),
        label,
    })
}

/// Rows of w per band, for panels with `depth` rows: all of them if they fit, else the largest number of whole panels such that each band starts at a
/// multiple of 256 bytes, the largest alignment that WebGPU lets a device require. That is a multiple of one 32-bit panel, or of two 16-bit panels.
fn band_rows(n: usize, depth: usize, bits: u32, binding_bytes: u64) -> usize {
    let unit = PANEL * 32 / bits as usize;
    let fitting = usize::try_from(binding_bytes / (depth as u64 * u64::from(bits / 8))).unwrap_or(usize::MAX);
    if fitting >= n { n } else { (fitting / unit * unit).max(unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_as_large_as_a_binding_allows() {
        assert_eq!(band_rows(1000, 768, 32, u64::MAX), 1000);
        assert_eq!(band_rows(1000, 768, 32, 1000 * 768 * 4), 1000);
        assert_eq!(band_rows(1000, 768, 32, 1000 * 768 * 4 - 1), 960);
        assert_eq!(band_rows(1000, 768, 32, 1), 64);
        assert_eq!(band_rows(1000, 769, 16, 1000 * 769 * 2), 1000);
        // 960 rows would be 15 panels of 64 x 769 x 2 bytes, an odd multiple of 128.
        assert_eq!(band_rows(1000, 769, 16, 1000 * 769 * 2 - 1), 896);
    }
}
