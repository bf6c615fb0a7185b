//! The WebAssembly module of the npm package. It runs in a worker, `worker.js`; `vitraux.js` is what pages import.

#![cfg(target_arch = "wasm32")]

mod devices;
mod engine;
mod failure;
mod files;
mod memory;
mod textures;
#[cfg(target_feature = "atomics")]
mod threads;
