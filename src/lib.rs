//! Vision Transformer inference on any GPU: compute kernels written by hand in WGSL, chained by a small
//! orchestrator on wgpu, with a CPU executor that is both the reference of the tests and the fallback.
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
//! [`Session::forward`] gives any intermediate result by its name, of tensors that [`Preprocess::apply`](preprocess::Preprocess::apply) makes of images or that you bring.
//! Every call that takes long is async and does not block the executor; each has a blocking twin.
//!
//! A [`Model`] is shared by threads, each of which runs it by a [`Session`] of its own; a [`Checkpoint`] is a folder from the hub, read without conversion. Programs that
//! own a wgpu device lend it ([`host`]). What is inside, kernels and recordings, is in [`low_level`], which may change with any version.
//!
//! The legend of all shapes: B batch, N tokens, P patches, C width, H heads, D head width, F MLP width.
//!
//! # Versions of wgpu
//!
//! vitraux re-exports the [`wgpu`] that it is built with. A program that lends its device must have that version: `vitraux::wgpu` is always right. A new version of
//! wgpu is a new minor version of vitraux.

#![deny(missing_docs)]

mod data;
mod execution;
pub mod host;
pub mod low_level;
mod model;
mod operations;
pub mod preprocess;

pub use data::capabilities::Precision;
pub use data::config;
pub use data::error::{Error, Limit, Result};
pub use data::record::Timing;
pub use data::tensor::{Dtype, Tensor};
pub use execution::checkpoint::{Checkpoint, Head};
pub use execution::device::{Device, DeviceBuilder, DeviceChoice};
#[cfg(not(target_arch = "wasm32"))]
pub use execution::gpu::adapters_blocking;
pub use execution::gpu::{AdapterKind, AdapterSummary, ShaderChecks, adapters};
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub use execution::hub;
pub use execution::image::Image;
pub use model::{Classification, Memory, Model, ModelBuilder, Outputs, Prediction, Session};
pub use operations::tuning::Tuning;
pub use wgpu;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
