//! Convolutions with 3 × 3 windows as products: the variants of products, with the windows of a map as the rows of x. Windows are gathered as they are
//! loaded, so that no matrix of them is in memory.

use super::Epilogue;
use super::variants::{self, Algorithm, Shape, Sizes, ranked};
use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::panels;
use crate::data::record::{Buf, Dispatch, Kernel, Recording};
use crate::execution::cpu::conv3x3::{self as twin, Params};
use crate::operations::kernels::{size, variant::Variant};
use std::sync::LazyLock;

/// All variants.
pub static VARIANTS: LazyLock<Vec<Variant<Shape>>> = LazyLock::new(|| {
    let takes_windows = |shape: &Shape| {
        shape.slices == 1
            && match shape.algorithm {
                Algorithm::Software => true,
                Algorithm::Tiled { .. } => !shape.precision.is_packed(),
                Algorithm::Cooperative { .. } => shape.precision == Precision::F16,
                Algorithm::Naive | Algorithm::Skinny => false,
            }
    };
    let with_windows = |kernel: &Kernel| Kernel {
        name: kernel.name.replace("matmul", "conv3x3").leak(),
        spec: kernel.spec.clone().with_piece("matmul/sizes", "matmul/windows"),
        params: Params::FIELDS,
        twin: twin::conv3x3,
        ..kernel.edited(kernel.wgsl, kernel.edited)
    };
    let products = variants::VARIANTS.iter().filter(|variant| takes_windows(&variant.shape));
    products.map(|variant| Variant { shape: variant.shape, kernel: with_windows(&variant.kernel) }).collect()
});

/// How a convolution reads its input.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Stride between windows, in pixels.
    pub stride: usize,
    /// Whether negative values count as 0: a ReLU before the convolution.
    pub is_rectified: bool,
}

impl Reading {
    /// Every window of the values as they are.
    pub const PLAIN: Reading = Reading { stride: 1, is_rectified: false };

    /// Returns the number of windows along an axis of `length` pixels, with one pixel of padding at each end.
    pub fn windows(&self, length: usize) -> usize {
        (length - 1) / self.stride + 1
    }
}

/// Records a convolution with 3 × 3 windows and one pixel of zero padding, with the epilogue of a product: x `[B, height, width, channels]`, w `[N, 9 · channels]` in
/// [`panels`], window row by window row and pixel by pixel, bias `[N]`, y `[B, rows, columns, N]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn conv3x3(recording: &mut Recording, label: String, x: Buf, [w, bias]: [Buf; 2], reading: Reading, epilogue: Epilogue, y: Buf) -> Result<()> {
    let &[batch, height, width, channels] = recording.shape(x) else { panic!("{label}: x is [B, height, width, channels]") };
    let &[_, rows, columns, n] = recording.shape(y) else { panic!("{label}: y is [B, rows, columns, N]") };
    assert_eq!(recording.shape(y), [batch, reading.windows(height), reading.windows(width), n], "{label}: y");
    let (m, k, precision) = (batch * rows * columns, 9 * channels, recording.precision_of(w));
    assert_eq!(recording.shape(w), panels::shape([n, k], precision), "{label}: w");
    assert_eq!(recording.shape(bias), [n], "{label}: bias");
    let scale = if let Epilogue::ScaledResidual(scale) = epilogue { scale } else { bias };
    let capabilities = *recording.capabilities();
    let variants = ranked(&VARIANTS, &Sizes { m, n, k, x: recording.precision_of(x), w: precision }, &capabilities);
    let variant = variants[recording.choose(None, variants.iter().map(|variant| &variant.kernel))];
    let (kernel, [tile_rows, tile_columns]) = (&variant.kernel, variant.shape.tile().map(|size| size as usize));
    // Windows do not follow one another at a constant distance, so no tile counts as tall.
    let spec = variant.shape.specialised(kernel.spec.clone(), [0, n, k], n, &capabilities);
    let spec = if kernel.imports("common/x_f32") { spec.reading(recording.precision_of(x)) } else { spec };
    let params = Params {
        m: size(m),
        n: size(n),
        k: size(k),
        stride: size(n),
        first: 0,
        height: size(height),
        width: size(width),
        rows: size(rows),
        columns: size(columns),
        step: size(reading.stride),
    };
    let written = recording.precision_of(y);
    recording.dispatch(Dispatch {
        kernel,
        spec: spec.with(epilogue.constants()).with([("RECTIFIED", u32::from(reading.is_rectified))]).writing(written),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 2 * (m * n * k) as u64,
        views: [x, w, bias, scale, y].map(|buf| recording.all(buf)).to_vec(),
        grid: [size(n.div_ceil(tile_columns)), size(m.div_ceil(tile_rows)), 1],
        label,
    })
}
