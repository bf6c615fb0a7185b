//! Twins of the matmul kernels: y = epilogue(x · wᵀ + bias).

use super::activation::{activate, numbered};
use super::instructions::for_int16;
use super::matmul_int16::product_of_integers;
use super::product::{Target, product_in_panels};
use super::vectors::vectorised;
use crate::data::panels::{PANEL, Panels};
use crate::data::record::{Call, PackedCopy, Spec, params};
use std::ops::Range;

params! {
    /// Parameters of the matmul kernels.
    Params {
        /// M, rows of x and y.
        m: u32,
        /// N, rows of w.
        n: u32,
        /// K, columns of x and w.
        k: u32,
        /// Row stride: columns of the matrix that contains y as a band of columns.
        stride: u32,
        /// First column of the band.
        first: u32,
        /// Depth of a K slice, with split-K over workgroups.
        slice_depth: u32,
    }
}

/// Twin of the floating-point matmul kernels.
pub fn matmul(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor(1);
    let [x, _, bias, scale] = call.reads else { panic!("x, w, bias and scale") };
    let sizes = [params.m, params.n, params.k].map(|size| size as usize);
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    let packed = params.packed(call.packed);
    match (w, for_int16()) {
        (Panels::Int16 { words, .. }, Some(multiply)) => product_of_integers(sizes, x, words, y, finished(call.spec, bias, scale, packed), multiply),
        _ => product_in_panels(sizes, x, w, y, finished(call.spec, bias, scale, packed)),
    }
}

impl Params {
    /// Returns the packed copy if the product writes whole rows, panel by panel.
    pub(super) fn packed<'a>(&self, packed: Option<&'a dyn PackedCopy>) -> Option<&'a dyn PackedCopy> {
        packed.filter(|packed| self.n == self.stride && packed.promise(PANEL))
    }
}

/// Returns the epilogue selected by `spec`. It takes a row's index, its range of columns, their sums, and the matching elements of y, of which it also makes
/// the packed copy.
pub(super) fn finished(
    spec: &Spec,
    bias: &[f32],
    scale: &[f32],
    packed: Option<&dyn PackedCopy>,
) -> impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync {
    let epilogue = spec.get("EPILOGUE");
    let activation = numbered(spec.get("ACTIVATION"));
    let is_replaced = packed.is_some_and(PackedCopy::replaces_rows);
    move |row, columns, sums, y| {
        let (first, bias) = (columns.start, &bias[columns.clone()]);
        let values = match epilogue {
            // In place, so that y is stored once: reading back what was just stored takes as long as GELU.
            0 | 1 => {
                add_bias(sums, bias);
                if epilogue == 1 {
                    activate(activation, sums);
                }
                if !is_replaced {
                    y.copy_from_slice(sums);
                }
                sums
            }
            2 => {
                add(y, sums, bias);
                y
            }
            _ => {
                add_scaled(y, sums, bias, &scale[columns]);
                y
            }
        };
        // SAFETY: a task has panels of rows of its own.
        packed.inspect(|packed| unsafe { packed.pack(row, first, values) });
    }
}

vectorised! {
    fn add_bias<'a>(sums: &'a mut [f32], bias: &'a [f32]) -> () {
        sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
    }
}

vectorised! {
    fn add<'a>(y: &'a mut [f32], sums: &'a [f32], bias: &'a [f32]) -> () {
        y.iter_mut().zip(sums).zip(bias).for_each(|((y, sum), bias)| *y += sum + bias);
    }
}

vectorised! {
    fn add_scaled<'a>(y: &'a mut [f32], sums: &'a [f32], bias: &'a [f32], scale: &'a [f32]) -> () {
        y.iter_mut().zip(sums).zip(bias.iter().zip(scale)).for_each(|((y, sum), (bias, scale))| *y += scale * (sum + bias));
    }
}
