//! Twins of the matmul kernels: y = epilogue(x · wᵀ + bias).

use super::activation::{activate, numbered};
use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Cores, Matrix, Target, product};
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

impl Params {
    fn sizes(&self) -> [usize; 3] {
        [self.m as usize, self.n as usize, self.k as usize]
    }

    fn factor<'a>(&self, w: &'a [f32], transposed: bool) -> Matrix<'a> {
        Matrix::factor(w, [self.n as usize, self.k as usize], transposed)
    }

    /// Calls `work` with each row's number and its columns of the band, on all cores.
    fn for_each_row(&self, y: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
        let (first, n) = (self.first as usize, self.n as usize);
        for_each_chunk(y, self.stride as usize, |row, values| work(row, &mut values[first..first + n]));
    }

    /// The band of `y` that a product is written or added to.
    fn band<'a>(&self, y: &'a mut [f32], add: bool) -> Target<'a> {
        Target { data: &mut y[self.first as usize..], row_stride: self.stride as usize, add }
    }

    /// Writes or adds x · wᵀ.
    fn product(&self, x: &[f32], w: Matrix, y: Target) {
        let x = Matrix { data: x, row_stride: self.k as usize, column_stride: 1 };
        product(self.sizes(), 1.0, x, w, y, Cores::All);
    }

    fn scaled_residual(&self, x: &[f32], w: Matrix, [bias, scale]: [&[f32]; 2], y: &mut [f32]) {
        let [m, n, _] = self.sizes();
        with_workspace(m * n, |sums| {
            self.product(x, w, Target { data: sums, row_stride: n, add: false });
            let sums = &*sums;
            self.for_each_row(y, |row, values| {
                let sums = &sums[row * n..][..n];
                for (((value, sum), bias), scale) in values.iter_mut().zip(sums).zip(bias).zip(scale) {
                    *value += scale * (sum + bias);
                }
            });
        });
    }
}

fn add(values: &mut [f32], terms: &[f32]) {
    values.iter_mut().zip(terms).for_each(|(value, term)| *value += term);
}

/// Twin of every kernel of products.
pub fn matmul(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, w, bias, scale] = call.reads else { panic!("x, w, bias and scale") };
    let w = params.factor(w, call.w_transposed);
    let y = call.write;
    match call.spec.get("EPILOGUE") {
        0 => {
            params.product(x, w, params.band(y, false));
            params.for_each_row(y, |_, row| add(row, bias));
        }
        1 => {
            let activation = numbered(call.spec.get("ACTIVATION"));
            params.product(x, w, params.band(y, false));
            params.for_each_row(y, |_, row| {
                add(row, bias);
                activate(activation, row);
            });
        }
        2 => {
            params.product(x, w, params.band(y, true));
            params.for_each_row(y, |_, row| add(row, bias));
        }
        _ => params.scaled_residual(x, w, [bias, scale], y),
    }
}
