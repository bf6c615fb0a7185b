//! How long work takes at the most, before it is measured.

use super::context::Gpu;

/// Floating-point operations and bytes a second of a GPU that a processor imitates, when it is slow.
const SLOW_SOFTWARE: [f64; 2] = [5e9, 1e9];

/// The same of a small hardware GPU.
const SLOW_HARDWARE: [f64; 2] = [200e9, 20e9];

/// Seconds that the shortest dispatch takes.
const OVERHEAD: f64 = 10e-6;

/// How long so many operations and bytes take on a slow device of its kind.
pub(super) fn estimate(gpu: &Gpu, operations: u64, bytes: u64) -> f64 {
    let [flops, bandwidth] = if gpu.summary().capabilities.software { SLOW_SOFTWARE } else { SLOW_HARDWARE };
    OVERHEAD + (operations as f64 / flops).max(bytes as f64 / bandwidth)
}
