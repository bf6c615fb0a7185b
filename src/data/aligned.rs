//! Numbers that begin at a cache line, so that a vector of them lies in one.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, which are also those of the widest vector.
const LINE: usize = 64;

/// Bytes from which huge pages are asked for.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE: usize = 1 << 20;

/// A boxed slice whose first element begins at a cache line.
#[derive(Debug, Default)]
pub struct Aligned<T> {
    /// The elements, and room to begin them at a line.
    room: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Returns `len` zeros.
    pub fn zeros(len: usize) -> Aligned<T> {
        // A zeroed `Vec` takes no memory until it is written, unlike an allocation that asks for its alignment.
        let room = vec![T::default(); if len == 0 { 0 } else { len + LINE / size_of::<T>() - 1 }];
        advise(&room);
        let start = room.as_ptr().align_offset(LINE).min(room.len() - len);
        Aligned { room, start, len }
    }
}

/// Asks for huge pages: the system provides them with fewer interruptions, and the processor finds them faster.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise<T>(room: &[T]) {
    let page = rustix::param::page_size();
    let start = room.as_ptr().addr().next_multiple_of(page);
    let end = (room.as_ptr().addr() + size_of_val(room)) / page * page;
    if end.saturating_sub(start) >= HUGE {
        // SAFETY: the pages lie within `room`, and the advice changes nothing that a program can see.
        let advised =
            unsafe { rustix::mm::madvise(room.as_ptr().with_addr(start).cast_mut().cast(), end - start, rustix::mm::Advice::LinuxHugepage) };
        if let Err(error) = advised {
            log::debug!("no huge pages: {error}");
        }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise<T>(_: &[T]) {}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.room[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.room[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_begin_at_a_cache_line() {
        for len in [0, 1, 100, 1000] {
            let mut values = Aligned::<u16>::zeros(len);
            assert!(len == 0 || values.as_ptr().addr().is_multiple_of(LINE));
            values.fill(1);
            assert_eq!(values.iter().map(|value| usize::from(*value)).sum::<usize>(), len);
        }
    }
}
