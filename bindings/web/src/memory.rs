//! Reports when WebAssembly's memory runs out: Rust aborts then, without an exception of ours.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};
use wasm_bindgen::prelude::*;

static HAS_RUN_OUT: AtomicBool = AtomicBool::new(false);

/// Returns whether an allocation has failed.
#[wasm_bindgen(js_name = hasRunOutOfMemory)]
pub fn has_run_out() -> bool {
    HAS_RUN_OUT.load(Ordering::Relaxed)
}

struct Watched;

fn watched(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        HAS_RUN_OUT.store(true, Ordering::Relaxed);
    }
    pointer
}

// SAFETY: every call is passed on to the system's allocator, and its result returned.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watched(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        watched(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watched(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;
