use super::quantise::quantise;
use super::{rows, size};
use crate::capabilities::{Capabilities, Needs, Precision};
use crate::config::Activation;
use crate::cpu::matmul::{self as twin, Params};
use crate::cpu::matmul_int8;
use crate::error::Result;
use crate::panels::{self, PANEL};
use crate::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static MATMUL: Kernel = kernel("matmul", include_str!("../../shaders/matmul.wgsl"), Needs::NOTHING);
pub static MATMUL_F16: Kernel = kernel("matmul_f16", include_str!("../../shaders/matmul_f16.wgsl"), Needs::NOTHING);
pub static MATMUL_COOP8: Kernel = kernel("matmul_coop8", include_str!("../../shaders/matmul_coop8.wgsl"), Needs::cooperative(8));
pub static MATMUL_COOP16: Kernel = kernel("matmul_coop16", include_str!("../../shaders/matmul_coop16.wgsl"), Needs::cooperative(16));
pub static MATMUL_SUBGROUP: Kernel = kernel("matmul_subgroup", include_str!("../../shaders/matmul_subgroup.wgsl"), Needs::LLVMPIPE);
pub static MATMUL_SKINNY: Kernel = kernel("matmul_skinny", include_str!("../../shaders/matmul_skinny.wgsl"), Needs::NOTHING);
pub static MATMUL_INT8: Kernel = Kernel {
    twin: matmul_int8::matmul_int8,
    ..kernel("matmul_int8", include_str!("../../shaders/matmul_int8.wgsl"), Needs::NOTHING)
};
pub static MATMUL_NAIVE: Kernel = kernel("matmul_naive", include_str!("../../shaders/matmul_naive.wgsl"), Needs::NOTHING);

const fn kernel(name: &'static str, wgsl: &'static str, needs: Needs) -> Kernel {
    const BINDINGS: &[Binding] = &[read(1, "x"), read(2, "w"), read(3, "bias"), read(4, "scale"), write(5, "y")];
    Kernel { name, wgsl, params: Params::FIELDS, bindings: BINDINGS, needs, twin: twin::matmul }
}

/// A way to compute products.
struct Rung {
    /// What [`Recording::prefer`] calls it.
    name: &'static str,
    kernel: &'static Kernel,
    /// Rows and columns of y that a workgroup computes.
    tile: [usize; 2],
    /// Values of the kernel's constants, if they make the rung.
    constants: &'static [(&'static str, u32)],
}

impl Rung {
    /// Subgroups of a workgroup, of the kernels for cooperative matrices.
    fn subgroups(&self) -> u32 {
        self.constants.iter().find(|(name, _)| *name == "DOWN").map_or(0, |(_, down)| 2 * down * down)
    }
}

const SUBGROUP: Rung = Rung { name: "matmul_subgroup", kernel: &MATMUL_SUBGROUP, tile: [40, 64], constants: &[] };
const SKINNY: Rung = Rung { name: "matmul_skinny", kernel: &MATMUL_SKINNY, tile: [4, 64], constants: &[] };
const NAIVE: Rung = Rung { name: "matmul_naive", kernel: &MATMUL_NAIVE, tile: [1, 64], constants: &[] };

/// Tiles through workgroup memory.
const TILED: [Rung; 4] = [
    Rung { name: "matmul", kernel: &MATMUL, tile: [64, 64], constants: &[] },
    Rung { name: "matmul_128x128", kernel: &MATMUL, tile: [128, 128], constants: &[("ROWS", 128), ("COLUMNS", 128), ("TILE_K", 8)] },
    Rung { name: "matmul_128x64", kernel: &MATMUL, tile: [128, 64], constants: &[("ROWS", 128), ("COLUMNS", 64), ("TILE_K", 16)] },
    Rung { name: "matmul_32x32", kernel: &MATMUL, tile: [32, 32], constants: &[("ROWS", 32), ("COLUMNS", 32), ("TILE_K", 32)] },
];

/// The same with w in f16.
const TILED_F16: [Rung; 2] = [
    Rung { name: "matmul_f16", kernel: &MATMUL_F16, tile: [64, 64], constants: &[] },
    Rung { name: "matmul_f16_128x128", kernel: &MATMUL_F16, tile: [128, 128], constants: &[("ROWS", 128), ("COLUMNS", 128), ("TILE_K", 8)] },
];

/// Cooperative matrices, for K that are multiples of 4.
const COOPERATIVE: [Rung; 4] = [
    Rung { name: "matmul_coop16", kernel: &MATMUL_COOP16, tile: [128, 128], constants: &[("DOWN", 2)] },
    Rung { name: "matmul_coop16_64x64", kernel: &MATMUL_COOP16, tile: [64, 64], constants: &[("DOWN", 1)] },
    Rung { name: "matmul_coop8", kernel: &MATMUL_COOP8, tile: [64, 64], constants: &[("DOWN", 2)] },
    Rung { name: "matmul_coop8_32x32", kernel: &MATMUL_COOP8, tile: [32, 32], constants: &[("DOWN", 1)] },
];

/// The most rows that are few to `matmul_skinny`, which reads the weight once for every four.
const FEW_ROWS: usize = 8;

/// 8-bit integers.
const INT8: Rung = Rung { name: "matmul_int8", kernel: &MATMUL_INT8, tile: [64, 64], constants: &[] };

/// Invocations of a workgroup that every device has.
const INVOCATIONS: u32 = 256;

/// The ways to compute a product of `m` rows and depth `k`, the best first of those that a device can run. On llvmpipe that was
/// measured (benches/results); elsewhere it is what the arithmetic suggests, until it is measured there.
fn ladder([m, k]: [usize; 2], precision: Precision, capabilities: &Capabilities) -> Vec<&'static Rung> {
    match precision {
        Precision::F32 => {
            let mut ladder = vec![&SUBGROUP];
            ladder.extend(&TILED);
            ladder.insert(if m <= FEW_ROWS { 1 } else { ladder.len() }, &SKINNY);
            ladder.push(&NAIVE);
            ladder
        }
        Precision::F16 => {
            let fits = |rung: &&Rung| k.is_multiple_of(4) && rung.subgroups() * capabilities.subgroup <= INVOCATIONS;
            let cooperative = COOPERATIVE.iter().filter(fits);
            match capabilities.software {
                // Where a processor imitates them they are slower than what they are made of.
                true => TILED_F16.iter().chain(cooperative).collect(),
                false => cooperative.chain(&TILED_F16).collect(),
            }
        }
        Precision::Int8 => vec![&INT8],
    }
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

impl Epilogue {
    /// The constants that choose it in `shaders/common/matmul_call.wgsl`.
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

/// Records a product in the way that suits the device: x `[.., K]`, w `[N, K]` in [`panels`], bias `[N]`, y `[.., N]`. A weight
/// larger than one binding may be is read in bands of rows, a dispatch each.
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
    // Where nothing is scaled the binding is not read.
    let scale = if let Epilogue::ScaledResidual(scale) = epilogue { scale } else { bias };
    assert_eq!(recording.shape(scale), [n], "{label}: scale");
    let x = if precision == Precision::Int8 { quantise(recording, &label, x)? } else { x };
    let capabilities = *recording.capabilities();
    let band = band_rows(n.next_multiple_of(PANEL), w_shape[1], precision.bits(), capabilities.binding_bytes);
    let ladder = ladder([m, k], precision, &capabilities);
    let rung = ladder[recording.choose(ladder.iter().map(|rung| (rung.name, rung.kernel.needs)))];
    let mut constants = [rung.constants, &epilogue.constants()].concat();
    constants.extend((rung.kernel.needs.cooperative > 0).then_some(("LANES", capabilities.subgroup)));
    for first in (0..n).step_by(band) {
        let count = band.min(n - first);
        recording.dispatch(Dispatch {
            kernel: rung.kernel,
            spec: Spec(constants.clone()),
            params: bytemuck::bytes_of(&Params { m: size(m), n: size(count), k: size(k), stride: size(n), first: size(first) }).to_vec(),
            flops: 2 * (m * count * k) as u64,
            views: vec![
                recording.all(x),
                recording.part(w, first * w_shape[1], count.next_multiple_of(PANEL) * w_shape[1]),
                recording.part(bias, first, count),
                recording.part(scale, first, count),
                recording.all(y),
            ],
            grid: [size(count.div_ceil(rung.tile[1])), size(m.div_ceil(rung.tile[0])), 1],
            label: label.clone(),
        })?;
    }
    Ok(())
}

/// Rows of w in a band, of panels with `depth` rows: all of them, or so many whole panels that each band begins at a multiple of 256
/// bytes, the largest alignment that WebGPU lets a device ask for: one panel of 32 bits, two of 16.
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

    #[test]
    fn rungs_suit_the_device_and_the_shape() {
        let llvmpipe = Capabilities { software: true, subgroup: 8, ..Capabilities::CPU };
        let hardware = Capabilities { subgroup: 32, ..Capabilities::CPU };
        let chosen = |capabilities, precision, m, preferred: Option<&'static str>| {
            let mut recording = Recording::new(capabilities);
            preferred.into_iter().for_each(|kernel| recording.prefer(kernel));
            let ladder = ladder([m, 768], precision, &capabilities);
            ladder[recording.choose(ladder.iter().map(|rung| (rung.name, rung.kernel.needs)))].name
        };
        assert_eq!(chosen(llvmpipe, Precision::F32, 197, None), "matmul_subgroup");
        assert_eq!(chosen(llvmpipe, Precision::F32, 197, Some("matmul_naive")), "matmul_naive");
        assert_eq!(chosen(hardware, Precision::F32, 197, None), "matmul");
        assert_eq!(chosen(hardware, Precision::F32, 197, Some("matmul_128x128")), "matmul_128x128");
        assert_eq!(chosen(hardware, Precision::F32, 1, None), "matmul_skinny");
        assert_eq!(chosen(hardware, Precision::F32, 197, Some("matmul_subgroup")), "matmul");
        let matrices = Capabilities { cooperative: 16, ..hardware };
        assert_eq!(chosen(hardware, Precision::F16, 197, None), "matmul_f16");
        assert_eq!(chosen(matrices, Precision::F16, 197, None), "matmul_coop16");
        assert_eq!(chosen(Capabilities { subgroup: 64, ..matrices }, Precision::F16, 197, None), "matmul_coop16_64x64");
        assert_eq!(chosen(Capabilities { cooperative: 8, ..llvmpipe }, Precision::F16, 197, None), "matmul_f16");
        assert_eq!(chosen(hardware, Precision::Int8, 197, None), "matmul_int8");
    }
}
