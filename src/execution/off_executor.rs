//! Runs long work off an async caller's executor.

/// Runs `work` on a new thread, so that awaiting it does not block the caller's executor. If the future is dropped, the work still runs to completion
/// and its result is discarded.
///
/// Each call starts a thread, which takes about 20 µs; the work takes milliseconds.
#[cfg(not(target_arch = "wasm32"))]
pub async fn off_executor<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = futures_channel::oneshot::channel();
    std::thread::spawn(move || {
        // Sending fails if the future was dropped.
        let _ = sender.send(pollster::block_on(work()));
    });
    receiver.await.expect("the thread does not panic")
}

/// Runs `work` in place: on wasm32 nothing in it blocks.
#[cfg(target_arch = "wasm32")]
pub async fn off_executor<T>(work: impl AsyncFnOnce() -> T) -> T {
    work().await
}
