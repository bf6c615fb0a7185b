//! Loops over chunks of a slice, on all cores: in a browser on those of its workers that the program has started, else on the caller.

use crate::data::aligned::Aligned;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// Calls `work` with the index and contents of each chunk of `len` elements. The last chunk may be shorter.
pub fn for_each_chunk<V: Send>(values: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    use rayon::prelude::*;
    values.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| work(i, chunk));
}

/// Calls `work` with each number below `count`.
pub fn for_each_number(count: usize, work: impl Fn(usize) + Sync) {
    use rayon::prelude::*;
    (0..count).into_par_iter().for_each(&work);
}

/// Calls `work` on one of the threads that share the work, so that its loops do not wake that thread each.
pub fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// Returns the number of threads that share the work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// A slice of which several cores write disjoint ranges.
pub struct Disjoint<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: f32 may be written from any thread, and the caller of `stretch` guarantees that ranges in use do not overlap.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(values: &'a mut [f32]) -> Disjoint<'a> {
        Disjoint { start: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// Returns `len` elements starting at `offset`.
    ///
    /// # Safety
    /// No two ranges that are alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn stretch(&self, offset: usize, len: usize) -> &mut [f32] {
        assert!(offset <= self.len && len <= self.len - offset, "elements {offset} to {} of {}", offset + len, self.len);
        // SAFETY: the range lies inside the slice, which is borrowed exclusively; the caller guarantees the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }
}

thread_local! {
    static WORKSPACE: RefCell<Aligned<f32>> = RefCell::default();
    static SHARED_WORKSPACE: RefCell<Aligned<f32>> = RefCell::default();
}

/// Lends `work` this thread's workspace of `len` elements, whose contents are left over from earlier calls. The workspace is kept between calls, so a
/// second forward pass allocates nothing here.
pub fn with_workspace<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    lend(&WORKSPACE, len, work)
}

/// Lends `work` another such workspace, for what its tasks share, who have workspaces of their own.
pub fn with_shared_workspace<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    lend(&SHARED_WORKSPACE, len, work)
}

fn lend<T>(place: &'static LocalKey<RefCell<Aligned<f32>>>, len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    // Taken, not borrowed: while this thread waits inside `work`, rayon may run another task on it.
    let mut workspace = place.take();
    if workspace.len() < len {
        workspace = Aligned::zeros(len);
    }
    let result = work(&mut workspace[..len]);
    place.with_borrow_mut(|kept| {
        if kept.len() < workspace.len() {
            *kept = workspace;
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by Miri, which sees overlapping or outlived ranges.
    #[test]
    fn disjoint_stretches_are_written_from_several_threads() {
        let mut values = vec![0.0; 64];
        let disjoint = Disjoint::new(&mut values);
        for_each_number(8, |task| {
            for row in 0..4 {
                // SAFETY: each task has two columns of its own.
                let stretch = unsafe { disjoint.stretch(row * 16 + task * 2, 2) };
                stretch.fill((row * 8 + task) as f32);
            }
        });
        assert!(values.iter().enumerate().all(|(i, value)| *value == (i / 2) as f32), "{values:?}");
    }

    #[test]
    #[should_panic(expected = "elements 7 to 9 of 8")]
    fn stretches_beyond_the_end_panic() {
        // SAFETY: it is the only range.
        unsafe { Disjoint::new(&mut [0.0; 8]).stretch(7, 2) };
    }
}
