//! The threads that compute, outside of the interpreter's lock.

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError};

/// The pool of this process. A fork has none of its parent's threads, so it gets a pool of its own.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Runs `work` on the pool, while other Python threads run.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| pool().install(work))
}

/// Returns the number of threads that compute.
pub fn count() -> usize {
    pool().current_num_threads()
}

/// Returns the pool of this process. Rayon's own would have been started before a fork.
pub fn pool() -> Arc<ThreadPool> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match pool.take() {
        Some((owner, threads)) if owner == process => {
            *pool = Some((owner, threads.clone()));
            threads
        }
        stale => {
            // Its threads are those of the parent and cannot be asked to end.
            std::mem::forget(stale);
            let threads = Arc::new(ThreadPoolBuilder::new().build().expect("the system has a thread"));
            *pool = Some((process, threads.clone()));
            threads
        }
    }
}
