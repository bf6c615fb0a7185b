//! Loops over stretches of a slice, on all cores where there are threads.

use std::cell::RefCell;
use std::marker::PhantomData;

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

/// Calls `work` with each number below `count`.
#[cfg(not(target_arch = "wasm32"))]
pub fn for_each_number(count: usize, work: impl Fn(usize) + Sync) {
    use rayon::prelude::*;
    (0..count).into_par_iter().for_each(&work);
}

/// Calls `work` with each number below `count`.
#[cfg(target_arch = "wasm32")]
pub fn for_each_number(count: usize, work: impl Fn(usize) + Sync) {
    (0..count).for_each(work);
}

/// How many threads share the work.
#[cfg(not(target_arch = "wasm32"))]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// How many threads share the work.
#[cfg(target_arch = "wasm32")]
pub fn threads() -> usize {
    1
}

/// A slice that several cores write different stretches of.
pub struct Disjoint<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it only gives out stretches, and whoever asks for them answers for their not overlapping.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(values: &'a mut [f32]) -> Disjoint<'a> {
        Disjoint { start: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// `len` elements from `offset` on.
    ///
    /// # Safety
    /// No two stretches that exist at a time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn stretch(&self, offset: usize, len: usize) -> &mut [f32] {
        assert!(offset <= self.len && len <= self.len - offset, "elements {offset} to {} of {}", offset + len, self.len);
        // SAFETY: it is inside the slice, which is borrowed exclusively; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }
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
