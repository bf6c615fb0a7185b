//! Vision Transformer inference on any GPU: hand-written WGSL compute kernels, a small orchestrator on wgpu, and a CPU
//! executor that serves as both test reference and fallback.
//!
//! ```
//! use vitraux::{Checkpoint, Image, Model};
//!
//! fn main() -> vitraux::Result<()> {
//!     let checkpoint = Checkpoint::digits(); // or Checkpoint::open("a folder from the hub")?
//!     let model = Model::builder(checkpoint).load_blocking()?;
//!     let image = Image::new([32, 32], 1, vec![0; 32 * 32])?; // or, with the feature `image`, Image::open("cat.jpg")?
//!     for classification in model.session().classify_blocking(&image, 3)? {
//!         for prediction in classification.top {
//!             println!("{:5.1} %  {:?}", 100.0 * prediction.probability, prediction.label);
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`Session::forward`] returns any intermediate result by name. Its input is a tensor that
//! [`Preprocess::apply`](preprocess::Preprocess::apply) makes from images, or one of your own. Long-running calls are async
//! and do not block the executor; each has a blocking counterpart.
//!
//! Threads share a [`Model`]; each runs it through its own [`Session`]. A [`Checkpoint`] is a folder from the hub, read
//! without conversion. Programs that own a wgpu device can lend it ([`host`]). Kernels and recordings are in [`low_level`],
//! which may change with any version.
//!
//! Axes in shapes: B batch, N tokens, P patches, C width, H heads, D head width, F MLP width.
//!
//! # Versions of wgpu
//!
//! vitraux re-exports the [`wgpu`] it is built with. A program that lends its device must use the same version, so use
//! `vitraux::wgpu`. A new version of wgpu means a new minor version of vitraux.

#![deny(missing_docs)]
// wgpu nests its types deeply; newer compilers count more levels than 128 to see that they are `Send`.
#![recursion_limit = "256"]

mod data;
mod execution;
pub mod host;
#[cfg_attr(unstable_hidden, doc(hidden))]
pub mod low_level;
mod model;
mod operations;
pub mod postprocess;
pub mod preprocess;

pub use data::capabilities::Precision;
pub use data::config;
pub use data::error::{Error, Limit, Result};
pub use data::record::Timing;
pub use data::tensor::Tensor;
pub use data::tokens::Tokens;
pub use execution::checkpoint::{Checkpoint, CheckpointBuilder, Head};
pub use execution::device::{Device, DeviceBuilder, DeviceChoice};
#[cfg(not(target_arch = "wasm32"))]
pub use execution::gpu::adapters_blocking;
pub use execution::gpu::{AdapterKind, AdapterSummary, ShaderChecks, adapters};
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub use execution::hub;
pub use execution::image::Image;
#[cfg(feature = "text")]
pub use execution::text::Tokenizer;
#[cfg(feature = "text")]
pub use model::Labels;
pub use model::{Classification, Memory, Model, ModelBuilder, Outputs, Prediction, Session};
pub use operations::tuning::Tuning;
pub use wgpu;

/// Runs the README's example as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
