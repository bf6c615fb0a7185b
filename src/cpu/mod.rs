//! The CPU: a twin for each kernel, and the executor that replays a recording with them.
//!
//! It is the reference of the tests, and what runs where there is no GPU. Matrix products are the
//! `gemm` crate's; everything is spread over rayon's threads.

pub mod activation;
pub mod attention;
pub mod attention_naive;
pub mod embed;
mod executor;
mod exponential;
pub mod layernorm;
pub mod matmul;
mod parallel;
pub mod patchify;
pub mod pool;
mod product;
pub mod softmax;
mod weights;

pub use executor::Plan;
pub use weights::Weights;
