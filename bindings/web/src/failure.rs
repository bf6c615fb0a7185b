//! Exceptions.

use wasm_bindgen::prelude::*;

#[wasm_bindgen(raw_module = "./error.js")]
extern "C" {
    type VitrauxError;

    #[wasm_bindgen(constructor)]
    fn new(message: &str, kind: &str) -> VitrauxError;
}

/// Returns the exception of an error of the library. Its message includes the causes.
pub fn raised(error: &vitraux::Error) -> JsValue {
    VitrauxError::new(&format!("{error:?}"), error.kind()).into()
}

/// Writes panics to the console, where the worker's error alone would say "unreachable".
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}
