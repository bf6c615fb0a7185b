//! CPU backend: a twin of each kernel, and the executor that replays a recording with them.
//!
//! It is the reference for the tests, and the fallback where there is no GPU. Matrix products use the `gemm` crate, or special
//! instructions for bf16 and integers; all work is spread over rayon's threads.

pub mod accumulate;
pub mod activation;
pub mod attention;
mod attention_mask;
pub mod attention_naive;
pub mod attention_pool;
mod attention_rounded;
pub mod average;
pub mod ceiling;
pub mod conv3x3;
mod conversions;
pub mod convolution;
pub mod depth;
pub mod embed;

mod executor;
mod exponential;
pub mod gate;
pub mod gather;
pub mod groupnorm;
mod instructions;
pub mod l2_normalize;
pub mod layernorm;
pub mod matmul;
pub mod matmul_bf16;
pub mod matmul_int16;
pub mod matmul_int8;
pub mod matmul_split;
pub mod max_pool;
pub mod normalise;
mod packed_rows;
mod parallel;
pub mod pca;
pub mod pool;
pub mod powers;
mod product;
pub mod qk_norm;
pub mod quantise;
pub mod readout;
pub mod resize;
pub mod rollout;
pub mod rotary;
mod row_chunks;
pub mod softmax;
pub mod swap;
pub mod to_bf16;
pub mod unfold;
mod vectors;
mod weights;

pub use executor::Plan;
pub use parallel::{for_each_chunk, threads};
pub use weights::Weights;
