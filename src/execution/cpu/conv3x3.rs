//! Twin of the products of `matmul/windows.wgsl`: convolutions of channels-last maps.

use super::matmul::finished;
use super::product::{Target, product_of_gathered};
use crate::data::panels::PANEL;
use crate::data::record::{Call, params};

params! {
    /// Parameters of the convolutions with 3 × 3 windows.
    Params {
        /// M, pixels of y over all images.
        m: u32,
        /// N, channels of y.
        n: u32,
        /// K, values in a window: 9 · channels of x.
        k: u32,
        /// Row stride of y: N.
        stride: u32,
        /// First column of y: 0.
        first: u32,
        /// Height of x in pixels.
        height: u32,
        /// Width of x in pixels.
        width: u32,
        /// Height of y in pixels.
        rows: u32,
        /// Width of y in pixels.
        columns: u32,
        /// Stride between windows, in pixels of x.
        step: u32,
    }
}

/// Twin of the convolutions with 3 × 3 windows.
pub fn conv3x3(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor(1);
    let [x, _, bias, scale] = call.reads else { panic!("x, w, bias and scale") };
    let sizes @ [_, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let [height, width, rows, columns, step] = [params.height, params.width, params.rows, params.columns, params.step].map(|size| size as usize);
    let is_rectified = call.spec.get("RECTIFIED") == 1;
    let gather = |m: usize, window: &mut [f32]| {
        let (across, down, image) = (m % columns, m / columns % rows, m / (columns * rows));
        for (place, pixel) in window.chunks_mut(k / 9).enumerate() {
            let row = (down * step + place / 3).checked_sub(1).filter(|&row| row < height);
            let column = (across * step + place % 3).checked_sub(1).filter(|&column| column < width);
            match row.zip(column) {
                None => pixel.fill(0.0),
                Some((row, column)) => {
                    let from = &x[((image * height + row) * width + column) * pixel.len()..][..pixel.len()];
                    match is_rectified {
                        true => pixel.iter_mut().zip(from).for_each(|(value, from)| *value = from.max(0.0)),
                        false => pixel.copy_from_slice(from),
                    }
                }
            }
        }
    };
    let packed = call.packed.filter(|packed| packed.promise(PANEL));
    let y = Target { data: call.write, row_stride: n };
    product_of_gathered(sizes, gather, w, y, finished(call.spec, bias, scale, packed));
}
