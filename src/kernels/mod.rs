//! The kernels: for each its descriptor, and the function that checks shapes and records a call.
//!
//! [`ALL`] is the list that the tests and benches iterate over.

mod attention;
mod attention_naive;
mod attention_pool;
mod average;
mod ceiling;
mod convolution;
mod embed;
mod gate;
mod groupnorm;
mod layernorm;
mod matmul;
mod matmul_rungs;
mod max_pool;
mod patchify;
mod pca;
mod pool;
mod qk_norm;
mod quantise;
mod rollout;
mod rotary;
mod sample;
mod softmax;
mod unit;
mod window;

pub use attention::attention;
pub use attention_naive::{attention_naive_probabilities, attention_naive_values};
pub use attention_pool::attention_pool;
pub use average::average;
pub use ceiling::{ceiling_coop, ceiling_copy, ceiling_multiply};
pub use convolution::convolution;
pub use embed::embed;
pub use gate::gate;
pub use groupnorm::{After, groupnorm};
pub use layernorm::layernorm;
pub use matmul::{Epilogue, matmul};
pub use max_pool::max_pool;
pub use patchify::patchify;
pub use pca::{pca, pca_colours, pca_gather, pca_orthonormalise, pca_project, pca_start};
pub use pool::pool;
pub use qk_norm::qk_norm;
pub use rollout::{rollout_mix, rollout_product};
pub use rotary::rotary;
pub use sample::{candidates, sample};
pub use softmax::softmax;
pub use unit::unit;

use crate::record::Kernel;

/// Every kernel.
pub static ALL: &[&Kernel] = &[
    &convolution::CONVOLUTION,
    &groupnorm::GROUPNORM,
    &groupnorm::GROUPNORM_RELU,
    &groupnorm::GROUPNORM_RESIDUAL_RELU,
    &max_pool::MAX_POOL,
    &patchify::PATCHIFY,
    &patchify::PATCHIFY_SUBGROUP,
    &embed::EMBED,
    &layernorm::LAYERNORM,
    &layernorm::LAYERNORM_SUBGROUP,
    &matmul_rungs::MATMUL,
    &matmul_rungs::MATMUL_SUBGROUP,
    &matmul_rungs::MATMUL_SKINNY,
    &matmul_rungs::MATMUL_SPLIT,
    &matmul_rungs::MATMUL_NAIVE,
    &matmul_rungs::MATMUL_F16,
    &matmul_rungs::MATMUL_SUBGROUP_F16,
    &matmul_rungs::MATMUL_SKINNY_F16,
    &matmul_rungs::MATMUL_SPLIT_F16,
    &matmul_rungs::MATMUL_COOP16,
    &matmul_rungs::MATMUL_SPLIT_COOP16,
    &matmul_rungs::MATMUL_COOP8,
    &matmul_rungs::MATMUL_SPLIT_COOP8,
    &matmul_rungs::MATMUL_COMBINE,
    &quantise::QUANTISE,
    &matmul_rungs::MATMUL_INT8,
    &qk_norm::QK_NORM,
    &rotary::ROTARY,
    &attention::ATTENTION,
    &attention::ATTENTION_SUBGROUP,
    &attention::ATTENTION_COOP16,
    &attention::ATTENTION_COOP8,
    &attention::ATTENTION_MASKED,
    &attention_naive::ATTENTION_NAIVE_PROBABILITIES,
    &attention_naive::ATTENTION_NAIVE_VALUES,
    &rollout::ROLLOUT_MIX,
    &rollout::ROLLOUT_PRODUCT,
    &gate::GATE,
    &pool::POOL,
    &attention_pool::ATTENTION_POOL,
    &unit::UNIT,
    &average::AVERAGE,
    &softmax::SOFTMAX,
    &pca::PCA_START,
    &pca::PCA_PROJECT,
    &pca::PCA_GATHER,
    &pca::PCA_ORTHONORMALISE,
    &pca::PCA_COLOURS,
    &ceiling::CEILING_COPY,
    &ceiling::CEILING_MULTIPLY,
    &ceiling::CEILING_COOP16,
    &ceiling::CEILING_COOP8,
];

/// Ways to compute what can be computed in several, as [`Recording::prefer`](crate::record::Recording::prefer) calls them.
pub static WAYS: &[&str] = &[
    "matmul_subgroup",
    "matmul_skinny",
    "matmul",
    "matmul_128x128",
    "matmul_128x64",
    "matmul_32x32",
    "matmul_split",
    "matmul_naive",
    "matmul_subgroup_f16",
    "matmul_skinny_f16",
    "matmul_f16",
    "matmul_f16_128x128",
    "matmul_split_f16",
    "matmul_coop16",
    "matmul_coop16_64x64",
    "matmul_split_coop16",
    "matmul_coop8",
    "matmul_coop8_32x32",
    "matmul_split_coop8",
    "matmul_int8",
    "attention_subgroup",
    "attention",
    "attention_coop16",
    "attention_coop8",
    "patchify_subgroup",
    "patchify",
    "layernorm_subgroup",
    "layernorm",
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
