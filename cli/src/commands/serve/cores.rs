//! Work that takes a processor core for a while, and would keep other requests waiting on the threads of the runtime.

use super::failure::Failure;
use crate::commands::guard::guarded;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The processor's cores, which all requests share.
#[derive(Clone)]
pub struct Cores(Arc<Semaphore>);

impl Cores {
    pub fn new(count: usize) -> Cores {
        Cores(Arc::new(Semaphore::new(count)))
    }

    /// Waits for a free core and does work on it. If the future is dropped while it waits, the work is not done.
    ///
    /// # Errors
    /// If the work panics.
    pub fn run<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(&self, work: W) -> impl Future<Output = Result<T, Failure>> + Send + use<T, W> {
        let cores = self.0.clone();
        async move {
            let core = cores.acquire_owned().await.expect("never closed");
            let done = spawn_blocking(move || {
                let done = guarded(work);
                drop(core);
                done
            });
            done.await.expect("panics are caught").ok_or_else(Failure::internal)
        }
    }
}
