//! Plain data: errors, tensors, configurations, and forward passes as recordings. No wgpu, no arithmetic.

pub mod aligned;
pub mod bf16;
pub mod capabilities;
pub mod config;
pub mod error;
pub mod int16;
pub mod int8;
pub mod integers;
pub mod levels;
pub mod panels;
pub mod record;
pub mod tensor;
pub mod tokens;
