//! Threads that share the work of the CPU: workers with the engine's memory, which JavaScript starts.

use js_sys::Array;
use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::sync::{Condvar, Mutex, PoisonError};
use wasm_bindgen::prelude::*;

/// Threads of rayon's that no worker runs yet.
static WAITING: Mutex<Vec<ThreadBuilder>> = Mutex::new(Vec::new());
static ADDED: Condvar = Condvar::new();

/// Returns the module and its memory, which a worker needs to become a thread.
#[wasm_bindgen(js_name = sharedModule)]
pub fn shared_module() -> Array {
    Array::of2(&wasm_bindgen::module(), &wasm_bindgen::memory())
}

/// Gives the work to `count` workers, all of which have to be in [`run`].
#[wasm_bindgen(js_name = useThreads)]
pub fn use_threads(count: usize) -> Result<(), JsValue> {
    let waiting = |thread| {
        WAITING.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        ADDED.notify_one();
        Ok(())
    };
    let built = ThreadPoolBuilder::new().num_threads(count).spawn_handler(waiting).build_global();
    built.map_err(|error| JsError::new(&error.to_string()).into())
}

/// Runs a thread in this worker, for ever.
#[wasm_bindgen(js_name = runThread)]
pub fn run() {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = loop {
        match waiting.pop() {
            Some(thread) => break thread,
            None => waiting = ADDED.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        }
    };
    drop(waiting);
    thread.run();
}
