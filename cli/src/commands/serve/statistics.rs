//! Counts and times of a model's inference, as Triton's extension of the protocol has them.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Counts and total times since the server started.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Images that were computed, with the time from their arrival.
    success: Total,
    /// Images of batches that failed.
    fail: Total,
    /// Time in the queue.
    queue: Total,
    /// Time of forward passes, that of a batch for each of its images.
    compute: Total,
    batches: AtomicU64,
    /// Milliseconds since 1970.
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Total {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Total {
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn value(&self) -> Value {
        json!({ "count": self.count.load(Ordering::Relaxed), "ns": self.nanoseconds.load(Ordering::Relaxed) })
    }
}

impl Statistics {
    /// Counts a batch by the time that each of its images waited.
    pub fn add(&self, waits: &[Duration], compute: Duration, is_success: bool) {
        let outcome = if is_success { &self.success } else { &self.fail };
        for wait in waits {
            self.queue.add(*wait);
            self.compute.add(compute);
            outcome.add(*wait + compute);
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Formats the statistics of a model.
    pub fn of(&self, name: &str, version: &str) -> Value {
        json!({
            "name": name,
            "version": version,
            "last_inference": self.last.load(Ordering::Relaxed),
            "inference_count": self.success.count.load(Ordering::Relaxed),
            "execution_count": self.batches.load(Ordering::Relaxed),
            "inference_stats": {
                "success": self.success.value(),
                "fail": self.fail.value(),
                "queue": self.queue.value(),
                "compute_input": Total::default().value(),
                "compute_infer": self.compute.value(),
                "compute_output": Total::default().value(),
            },
            "batch_stats": [],
        })
    }
}
