//! The kernels, and which of their variants is taken.

#[cfg(feature = "doctor")]
pub mod cases;
pub mod kernels;
pub mod tuning;
