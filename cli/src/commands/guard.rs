//! Calls into decoders that may panic on damaged files, or take forever.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Once, mpsc};
use std::time::Duration;

thread_local!(static IS_GUARDED: Cell<bool> = const { Cell::new(false) });

/// Calls `work`. Returns `None` if it panics, of which nothing is printed.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                report(panic);
            }
        }));
    });
    let before = IS_GUARDED.replace(true);
    // What a panic leaves half done is dropped with `work`.
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    IS_GUARDED.set(before);
    result
}

/// Calls `work` on another thread. Returns `None` if it panics or takes longer than `limit`; in the latter case it goes on until the process ends.
pub fn guarded_within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody receives a result that comes too late.
    std::thread::Builder::new().spawn(move || sender.send(guarded(work)).is_ok()).ok()?;
    receiver.recv_timeout(limit).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_becomes_nothing() {
        assert_eq!(guarded_within(Duration::from_secs(60), || 3), Some(3));
        assert_eq!(guarded_within(Duration::from_secs(60), || -> i32 { panic!("inner") }), None);
        assert_eq!(guarded_within(Duration::from_millis(1), || std::thread::sleep(Duration::from_secs(1))), None);
    }

    #[test]
    fn panics_become_nothing() {
        assert_eq!(guarded(|| 3), Some(3));
        assert_eq!(guarded(|| -> i32 { guarded(|| panic!("inner")).map_or_else(|| panic!("outer"), |()| 1) }), None);
        assert!(!IS_GUARDED.get());
    }
}
