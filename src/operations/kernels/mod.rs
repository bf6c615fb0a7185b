//! The kernels. Each module has a descriptor and a function that checks shapes and records a call.
//!
//! [`ALL`] is the list that the tests and benches iterate over.

mod accumulate;
pub(crate) mod attention;
pub(crate) mod attention_naive;
mod attention_pool;
mod average;
mod ceiling;
mod convolution;
mod depth;
mod embed;
mod gate;
mod gather;
mod groupnorm;
mod l2_normalize;
mod layernorm;
pub(crate) mod matmul;
mod max_pool;
mod normalise;
mod pca;
mod pool;
mod qk_norm;
mod quantise;
mod readout;
mod resize;
mod rollout;
mod rotary;
mod sample;
mod softmax;
mod swap;
mod to_bf16;
mod unfold;
pub(crate) mod variant;
mod windows;

pub use accumulate::accumulate;
pub use attention::{Mask, attention, powers as attention_powers};
pub use attention_naive::{attention_naive_probabilities, attention_naive_values};
pub use attention_pool::attention_pool;
pub use average::average;
pub use ceiling::{ceiling_coop, ceiling_copy, ceiling_multiply};
pub use convolution::convolution;
pub use depth::depth;
pub use embed::embed;
pub use gate::gate;
pub use gather::gather;
pub use groupnorm::{After, groupnorm};
pub use l2_normalize::l2_normalize;
pub use layernorm::{layernorm, rmsnorm};
pub use matmul::conv3x3::{Reading, conv3x3};
pub use matmul::{Epilogue, matmul, powers as matmul_powers};
pub use max_pool::max_pool;
pub use normalise::normalise;
pub use pca::{pca, pca_colours, pca_gather, pca_orthonormalise, pca_project, pca_start};
pub use pool::{pool, pool_max};
pub use qk_norm::{qk_norm, qk_rmsnorm};
pub use readout::readout;
pub use resize::{Alignment, Onto, resize};
pub use rollout::{rollout_mix, rollout_product};
pub use rotary::{Pairs, rotary};
pub use sample::{SampleEpilogue, sample, variants};
pub use softmax::softmax;
pub use swap::swap;
pub use unfold::unfold;

use crate::data::record::{Kernel, Recording, Spec};
use std::sync::LazyLock;
use variant::Variant;

/// Every kernel, including all variants.
pub static ALL: LazyLock<Vec<&'static Kernel>> = LazyLock::new(|| {
    let products = matmul::variants::VARIANTS.iter().chain(&*matmul::conv3x3::VARIANTS).map(|variant| &variant.kernel);
    let attention = attention::variants::VARIANTS.iter().map(|variant| &variant.kernel);
    SINGLE
        .iter()
        .copied()
        .chain([&*attention_pool::ATTENTION_POOL_MASKED])
        .chain(&*attention_naive::ATTENTION_NAIVE_PROBABILITIES)
        .chain(&*ceiling::COOPERATIVE)
        .chain(products)
        .chain(attention)
        .collect()
});

/// Kernels that are not in a list of variants.
static SINGLE: &[&Kernel] = &[
    &convolution::CONVOLUTION,
    &groupnorm::GROUPNORM,
    &groupnorm::GROUPNORM_RELU,
    &groupnorm::GROUPNORM_RESIDUAL_RELU,
    &max_pool::MAX_POOL,
    &normalise::NORMALISE,
    &unfold::UNFOLD,
    &embed::EMBED,
    &layernorm::LAYERNORM,
    &layernorm::LAYERNORM_SUBGROUP,
    &layernorm::RMSNORM,
    &layernorm::RMSNORM_SUBGROUP,
    &matmul::variants::MATMUL_COMBINE,
    &matmul::variants::MATMUL_POWERS,
    &attention::variants::ATTENTION_POWERS,
    &quantise::QUANTISE,
    &to_bf16::TO_BF16,
    &qk_norm::QK_NORM,
    &qk_norm::QK_RMSNORM,
    &rotary::ROTARY,
    &attention_naive::ATTENTION_NAIVE_VALUES,
    &rollout::ROLLOUT_MIX,
    &rollout::ROLLOUT_PRODUCT,
    &gate::GATE,
    &gather::GATHER,
    &pool::POOL,
    &pool::POOL_MAX,
    &attention_pool::ATTENTION_POOL,
    &l2_normalize::L2_NORMALIZE,
    &average::AVERAGE,
    &accumulate::ACCUMULATE,
    &softmax::SOFTMAX,
    &readout::READOUT,
    &resize::RESIZE,
    &swap::SWAP,
    &depth::DEPTH,
    &pca::PCA_START,
    &pca::PCA_PROJECT,
    &pca::PCA_GATHER,
    &pca::PCA_ORTHONORMALISE,
    &pca::PCA_COLOURS,
    &ceiling::CEILING_COPY,
    &ceiling::CEILING_MULTIPLY,
];

/// Bytes of workgroup memory of a variant under a spec, by the formula used for selection; `None` for kernels that are not variants.
pub fn workgroup_bytes(kernel: &Kernel, spec: &Spec) -> Option<u32> {
    let mut products = matmul::variants::VARIANTS.iter().chain(&*matmul::conv3x3::VARIANTS);
    let product = || products.find(|variant| variant.kernel.name == kernel.name).map(|variant| variant.shape.workgroup_bytes());
    let attention = attention::variants::VARIANTS.iter().find(|variant| variant.kernel.name == kernel.name);
    let of_attention = |variant: &Variant<attention::variants::Shape>| match variant.shape.tile {
        attention::variants::Tile::Software => 0,
        _ => variant.shape.workgroup_bytes(spec.get("HEAD") as usize, spec.get("KEYS")),
    };
    attention.map(of_attention).or_else(product)
}

/// Converts a size to a kernel parameter. A buffer has at most 2^30 elements (4 GiB) on any device, so every recordable size fits.
fn size(value: usize) -> u32 {
    u32::try_from(value).unwrap_or_else(|_| panic!("size {value} exceeds 32 bits"))
}

/// Grid of an elementwise kernel that works in blocks, whose size is defined in `shaders/common/block.wgsl`.
fn in_blocks(recording: &Recording, elements: usize) -> [u32; 3] {
    recording.folded(elements.div_ceil(1024))
}

/// Returns the product of all axes but the last, and the last axis.
fn rows(shape: &[usize]) -> (usize, usize) {
    let (&width, outer) = shape.split_last().expect("a shape has an axis");
    (outer.iter().product(), width)
}
