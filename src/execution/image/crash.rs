//! Panics of decoders, which are other crates', on damaged files.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a decoder. Returns `None` if it panics; programs that are built to abort on panics end.
pub fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    // A decoder that has panicked is not called again.
    catch_unwind(AssertUnwindSafe(call)).ok()
}
