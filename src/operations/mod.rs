//! The kernels, and the selection of their variants.

#[cfg(feature = "doctor")]
pub mod cases;
pub mod kernels;
pub mod tuning;
