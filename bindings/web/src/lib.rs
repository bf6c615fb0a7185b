//! The WebAssembly module of the npm package. `vitraux.js` is what pages import.

#![cfg(target_arch = "wasm32")]

mod engine;
mod failure;
mod files;
