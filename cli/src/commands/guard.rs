//! Calls into decoders that may panic on damaged files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_nothing() {
        assert_eq!(guarded(|| 3), Some(3));
        assert_eq!(guarded(|| -> i32 { guarded(|| panic!("inner")).map_or_else(|| panic!("outer"), |()| 1) }), None);
        assert!(!IS_GUARDED.get());
    }
}
