//! The kernels: for each its descriptor, and the function that checks shapes and records a call.
//!
//! [`ALL`] is the list that the tests and benches iterate over.

mod attention;
mod attention_naive;
mod embed;
mod layernorm;
mod matmul;
mod matmul_naive;
mod patchify;
mod pool;
mod softmax;

pub use attention::attention;
pub use attention_naive::{attention_naive_probabilities, attention_naive_values};
pub use embed::embed;
pub use layernorm::layernorm;
pub use matmul::{Epilogue, matmul};
pub use matmul_naive::matmul_naive;
pub use patchify::patchify;
pub use pool::pool;
pub use softmax::softmax;

use crate::record::Kernel;

/// Every kernel.
pub static ALL: &[&Kernel] = &[
    &patchify::PATCHIFY,
    &embed::EMBED,
    &layernorm::LAYERNORM,
    &matmul::MATMUL_BIAS,
    &matmul::MATMUL_BIAS_ACTIVATION,
    &matmul::MATMUL_BIAS_RESIDUAL,
    &matmul::MATMUL_BIAS_SCALE_RESIDUAL,
    &matmul_naive::MATMUL_NAIVE,
    &attention::ATTENTION,
    &attention_naive::ATTENTION_NAIVE_PROBABILITIES,
    &attention_naive::ATTENTION_NAIVE_VALUES,
    &pool::POOL,
    &softmax::SOFTMAX,
];

/// A size as a kernel's parameter. A buffer has at most 2^30 elements (4 GiB) on any device, so this
/// holds for every size that could be recorded.
fn size(value: usize) -> u32 {
    u32::try_from(value).unwrap_or_else(|_| panic!("size {value} exceeds 32 bits"))
}

/// The product of all axes but the last, and the last.
fn rows(shape: &[usize]) -> (usize, usize) {
    let (&width, outer) = shape.split_last().expect("a shape has an axis");
    (outer.iter().product(), width)
}
