//! Vision Transformer inference on any GPU: compute kernels written by hand in WGSL, chained by a small
//! orchestrator on wgpu, with a CPU executor that is both the reference of the tests and the fallback.
//!
//! ```
//! use vitraux::{Checkpoint, Model, Tensor};
//!
//! # fn main() -> vitraux::Result<()> {
//! let checkpoint = Checkpoint::digits(); // or Checkpoint::open("a folder from the hub")?
//! let model = Model::builder(checkpoint).load_blocking()?;
//! let pixel_values = Tensor::zeros([1, 1, 32, 32]);
//! let outputs = model.session().forward_blocking(&pixel_values, &["logits", "hidden.3"])?;
//! assert_eq!(outputs["logits"].shape(), [1, 10]);
//! # Ok(())
//! # }
//! ```
//!
//! The modules are floors of a house, and each uses only those below it: [`engine`] on [`model`] on
//! [`kernels`] on [`cpu`], [`gpu`], [`checkpoint`] and [`preprocess`] on [`record`] on [`config`],
//! tensors and errors.
//!
//! The legend of all shapes: B batch, N tokens, P patches, C width, H heads, D head width, F MLP width.

#![deny(missing_docs)]

pub mod capabilities;
#[cfg(feature = "doctor")]
pub mod cases;
pub mod checkpoint;
pub mod config;
pub mod cpu;
pub mod device;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub mod doctor;

mod error;
mod filter;
pub mod forward;
pub mod gpu;
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub mod hub;
mod int8;
pub mod kernels;
mod levels;
pub mod model;
mod off_executor;

pub mod painting;
pub mod panels;
pub mod preprocess;
pub mod record;
mod storage;
mod tensor;
pub mod tuning;

pub use capabilities::Precision;
pub use checkpoint::{Checkpoint, Head};
pub use device::{Device, DeviceBuilder, DeviceChoice};
pub use error::{Error, Limit, Result};
pub use model::{Classification, Memory, Model, ModelBuilder, Outputs, Prediction, Session};
#[cfg(not(target_arch = "wasm32"))]
pub use model::{GpuInput, GpuJob, GpuOutputs};
pub use preprocess::Picture;
pub use tensor::{Bytes, Dtype, Tensor};

#[doc = include_str!("../docs/embedding.md")]
pub mod embedding {}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
