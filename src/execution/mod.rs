//! Everything with side effects: devices, files, images and the hub.

pub mod checkpoint;
pub mod cpu;
mod cuda;
pub mod device;
pub mod gpu;
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub mod hub;
pub mod image;
pub mod storage;
#[cfg(feature = "text")]
pub mod text;
pub mod threads;
