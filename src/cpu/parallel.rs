//! Loops over stretches of a slice, on all cores where there are threads.

use std::cell::RefCell;

/// Calls `work` with the number and the contents of each stretch of `len` elements; the last may be shorter.
#[cfg(not(target_arch = "wasm32"))]
pub fn for_each_chunk<V: Send>(values: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    use rayon::prelude::*;
    values.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| work(i, chunk));
}

/// Calls `work` with the number and the contents of each stretch of `len` elements; the last may be shorter.
#[cfg(target_arch = "wasm32")]
pub fn for_each_chunk<V: Send>(values: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    values.chunks_mut(len).enumerate().for_each(|(i, chunk)| work(i, chunk));
}

thread_local! {
    static WORKSPACE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `work` this thread's workspace of `len` elements, whose contents are left over from earlier
/// calls. It is kept between calls, so that a second forward allocates nothing here.
pub fn with_workspace<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    // Taken rather than borrowed: while this thread waits inside `work`, rayon may run another task on it.
    let mut workspace = WORKSPACE.take();
    if workspace.len() < len {
        workspace.resize(len, 0.0);
    }
    let result = work(&mut workspace[..len]);
    WORKSPACE.with_borrow_mut(|kept| {
        if kept.len() < workspace.len() {
            *kept = workspace;
        }
    });
    result
}
