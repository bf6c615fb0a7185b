//! What a second forward allocates on the host. A binary of its own, because it counts every allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use vitraux::{Checkpoint, Device, Engine, Tensor};

struct Counting;

/// Bytes allocated and not yet freed, and the most there were.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

// SAFETY: all work is the system allocator's; the counters only watch.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size() as isize, Relaxed) + layout.size() as isize;
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `gemm` packs its factors into during a product and frees again: panels within the caches.
const PACKING_BYTES: isize = 1024 * 1024;

#[test]
fn a_second_forward_allocates_no_more_than_its_outputs() {
    let checkpoint = Checkpoint::random("vit_tiny_patch16_224").expect("a known architecture");
    let mut engine = pollster::block_on(Engine::load(checkpoint, Device::Cpu)).expect("an engine");
    let wanted = ["logits", "tokens"];
    let pixel_values = Tensor::zeros([2, 3, 224, 224]);
    for _ in 0..2 {
        engine.forward_blocking(&pixel_values, &wanted).expect("outputs");
    }
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let outputs = engine.forward_blocking(&pixel_values, &wanted).expect("outputs");
    let (kept, peak) = (LIVE.load(Relaxed) - before, PEAK.load(Relaxed) - before);
    let output_bytes: usize = outputs.values().map(|tensor| tensor.len() * 4).sum();
    // Names, shapes and the map around the values.
    let around = 4096;
    println!("kept {kept}, at the most {peak}, outputs {output_bytes}");
    assert!(kept <= output_bytes as isize + around, "{kept} bytes kept beside outputs of {output_bytes}");
    assert!(peak <= output_bytes as isize + around + PACKING_BYTES, "{peak} bytes at the most beside outputs of {output_bytes}");
    drop(outputs);
    assert!(LIVE.load(Relaxed) - before <= around, "memory grows");
}
