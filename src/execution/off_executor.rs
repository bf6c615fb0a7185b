//! Work that takes long, away from an async caller's executor.

/// Runs work on a thread of its own, so that whoever awaits it does not block its executor. If the future is dropped, the work goes on to its end,
/// and its result is dropped.
///
/// A thread for each call: it takes some 20 µs, where the work takes milliseconds.
#[cfg(not(target_arch = "wasm32"))]
pub async fn off_executor<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = futures_channel::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens if the future was dropped.
        let _ = sender.send(pollster::block_on(work()));
    });
    receiver.await.expect("the thread does not panic")
}

/// Runs work here: on wasm32 nothing in it blocks.
#[cfg(target_arch = "wasm32")]
pub async fn off_executor<T>(work: impl AsyncFnOnce() -> T) -> T {
    work().await
}
