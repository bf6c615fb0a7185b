//! Threads, which a system may refuse.

use crate::data::error::Result;

/// Starts the threads that share work on the CPU, once per process. rayon would panic at the first work if it could not.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) if the system refuses threads.
#[cfg(not(target_arch = "wasm32"))]
pub fn start() -> Result<()> {
    use std::error::Error as _;
    static REFUSAL: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    // Without a source, the error is that the pool runs already.
    let refusal = REFUSAL.get_or_init(|| rayon::ThreadPoolBuilder::new().build_global().err()?.source().map(ToString::to_string));
    match refusal {
        None => Ok(()),
        Some(refusal) => {
            Err(crate::data::error::Error::device("CPU", format!("cannot start threads; raise the limit on processes (`ulimit -u`): {refusal}")))
        }
    }
}

/// Does nothing: a browser has the threads that the program has started, and rayon does without.
#[cfg(target_arch = "wasm32")]
pub fn start() -> Result<()> {
    Ok(())
}

/// Runs `work` on a new thread, so that awaiting it does not block the caller's executor. If the future is dropped, the work still runs to completion
/// and its result is discarded. If the system refuses the thread, the work runs in place.
///
/// Each call starts a thread, which takes about 20 µs; the work takes milliseconds.
#[cfg(not(target_arch = "wasm32"))]
pub async fn off_executor<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    use std::sync::{Arc, Mutex, PoisonError};
    let (sender, receiver) = futures_channel::oneshot::channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take().expect("one thread takes it");
    let of_thread = work.clone();
    let started = std::thread::Builder::new().spawn(move || {
        // Sending fails if the future was dropped.
        let _ = sender.send(pollster::block_on(take(&of_thread)()));
    });
    match started {
        Ok(thread) => match receiver.await {
            Ok(result) => result,
            // A panic, such as one of the caller's progress closure, goes on in the caller.
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a thread that ends has sent its result"),
            },
        },
        Err(_) => take(&work)().await,
    }
}

/// Runs `work` in place: on wasm32 nothing in it blocks.
#[cfg(target_arch = "wasm32")]
pub async fn off_executor<T>(work: impl AsyncFnOnce() -> T) -> T {
    work().await
}
