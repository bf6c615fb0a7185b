//! Upper estimates of the time of work that has not been measured yet.

use super::context::Gpu;

/// Floating-point operations and bytes per second of a slow software GPU.
const SLOW_SOFTWARE: [f64; 2] = [5e9, 1e9];

/// Floating-point operations and bytes per second of a small hardware GPU.
const SLOW_HARDWARE: [f64; 2] = [200e9, 20e9];

/// Seconds of the shortest dispatch.
const OVERHEAD: f64 = 10e-6;

/// Estimates the seconds that so many operations and bytes take on a slow device of the same kind.
pub(super) fn estimate(gpu: &Gpu, operations: u64, bytes: u64) -> f64 {
    let [flops, bandwidth] = if gpu.summary().capabilities.software { SLOW_SOFTWARE } else { SLOW_HARDWARE };
    OVERHEAD + (operations as f64 / flops).max(bytes as f64 / bandwidth)
}
