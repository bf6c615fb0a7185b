//! Twins of the `ceiling` kernels, which measure peak memory bandwidth and peak arithmetic throughput.

use super::parallel::for_each_chunk;
use super::vectors::vectorised;
use crate::data::record::{Call, params};

params! {
    /// Parameters of the `ceiling` kernels.
    Params {
        /// Number of elements.
        len: u32,
    }
}

/// Steps per chain, as in `shaders/ceiling.wgsl`.
pub const STEPS: usize = 256;

/// Elements per task.
const RUN: usize = 1 << 14;

/// Elements per task of multiplications, each of which takes longer.
const MULTIPLIED: usize = 1 << 12;

/// Elements whose sums are held in registers at once.
const LANES: usize = 64;

/// Twin of `ceiling_copy`.
pub fn ceiling_copy(call: Call<'_>) {
    let [x] = call.reads else { panic!("x") };
    for_each_chunk(call.write, RUN, |i, y| y.copy_from_slice(&x[i * RUN..][..y.len()]));
}

/// Twin of `ceiling_multiply`.
pub fn ceiling_multiply(call: Call<'_>) {
    let [x] = call.reads else { panic!("x") };
    for_each_chunk(call.write, MULTIPLIED, |i, y| multiply(&x[i * MULTIPLIED..][..y.len()], y));
}

/// Twin of `ceiling_coop8` and `ceiling_coop16`.
pub fn ceiling_coop<const SIDE: usize>(call: Call<'_>) {
    let [x] = call.reads else { panic!("x") };
    for_each_chunk(call.write, SIDE * SIDE, |tile, y| {
        let x = &x[tile * SIDE * SIDE..][..SIDE * SIDE];
        for (i, y) in y.iter_mut().enumerate() {
            let (row, column) = (i / SIDE, i % SIDE);
            let product: f32 = (0..SIDE).map(|k| x[row * SIDE + k] * x[k * SIDE + column]).sum();
            *y = (4 * STEPS) as f32 * product;
        }
    });
}

vectorised! {
    fn multiply<'a>(x: &'a [f32], y: &'a mut [f32]) -> () {
        for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
            let mut factors = [0.0; LANES];
            factors[..x.len()].copy_from_slice(x);
            let mut totals = [0.0; LANES];
            for start in 0..4 {
                let mut sums = [start as f32; LANES];
                for _ in 0..STEPS {
                    // By index: without optimisation across crates, iterators are not inlined, and nothing is vectorised.
                    for i in 0..LANES {
                        sums[i] = sums[i].mul_add(factors[i], factors[i]);
                    }
                }
                for i in 0..LANES {
                    totals[i] += sums[i];
                }
            }
            y.copy_from_slice(&totals[..x.len()]);
        }
    }
}
