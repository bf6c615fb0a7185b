//! Twins of the split-K matmul kernels: partial sums per slice of K, and their combination.

use super::matmul::{Params, finished};
use super::parallel::for_each_chunk;
use super::product::{Cores, Matrix, Target, product, with_panel};
use crate::data::panels::PANEL;
use crate::data::record::Call;

/// Twin of the kernels that compute partial sums.
pub fn matmul_split(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [m, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let w = call.factor(1);
    let x = call.reads[0];
    let depth = params.slice_depth as usize;
    call.write.fill(0.0);
    for first in (0..n).step_by(PANEL) {
        with_panel(w.part(first * k, PANEL * k), k, |panel| {
            for (slice, y) in call.write.chunks_mut(m * n).enumerate() {
                let (start, end) = (slice * depth, k.min((slice + 1) * depth));
                if start < end {
                    let x = Matrix { data: &x[start..], row_stride: k, column_stride: 1 };
                    let w = Matrix { data: &panel[start * PANEL..], row_stride: PANEL, column_stride: 1 };
                    product([m, PANEL.min(n - first), end - start], 1.0, x, w, Target { data: &mut y[first..], row_stride: n }, Cores::All);
                }
            }
        });
    }
}

/// Twin of `matmul_combine`.
pub fn matmul_combine(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [m, n, stride, first] = [params.m, params.n, params.stride, params.first].map(|size| size as usize);
    let [parts, bias, scale] = call.reads else { panic!("x, bias and scale") };
    let finish = finished(call.spec, bias, scale, None);
    for_each_chunk(call.write, stride, |row, y| {
        let mut sums = vec![0.0; n];
        for part in parts.chunks(m * n) {
            sums.iter_mut().zip(&part[row * n..]).for_each(|(sum, part)| *sum += part);
        }
        finish(row, 0..n, &mut sums, &mut y[first..][..n]);
    });
}
