//! Twins of the matmul kernels: y = epilogue(x · wᵀ + bias).

use super::activation::{activate, numbered};
use super::product::{Target, product_in_panels};
use crate::record::{Call, params};

params! {
    /// Parameters of the matmul kernels.
    Params {
        /// M, rows of x and y.
        m: u32,
        /// N, rows of w.
        n: u32,
        /// K, columns of x and w.
        k: u32,
        /// Columns of the matrix that y is a band of.
        stride: u32,
        /// The band's first column.
        first: u32,
    }
}

/// Twin of every kernel of products.
pub fn matmul(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor(1);
    let [x, _, bias, scale] = call.reads else { panic!("x, w, bias and scale") };
    let [m, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    match call.spec.get("EPILOGUE") {
        0 => product_in_panels([m, n, k], x, w, y, |columns, sums, y| set(y, sums, &bias[columns])),
        1 => {
            let activation = numbered(call.spec.get("ACTIVATION"));
            product_in_panels([m, n, k], x, w, y, |columns, sums, y| {
                set(y, sums, &bias[columns]);
                activate(activation, y);
            });
        }
        2 => product_in_panels([m, n, k], x, w, y, |columns, sums, y| {
            y.iter_mut().zip(sums).zip(&bias[columns]).for_each(|((y, sum), bias)| *y += sum + bias);
        }),
        _ => product_in_panels([m, n, k], x, w, y, |columns, sums, y| {
            let terms = sums.iter().zip(&bias[columns.clone()]).zip(&scale[columns]);
            y.iter_mut().zip(terms).for_each(|(y, ((sum, bias), scale))| *y += scale * (sum + bias));
        }),
    }
}

pub(super) fn set(y: &mut [f32], sums: &[f32], bias: &[f32]) {
    y.iter_mut().zip(sums).zip(bias).for_each(|((y, sum), bias)| *y = sum + bias);
}
