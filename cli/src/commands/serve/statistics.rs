//! Counts and times of a model's inference, as Triton's extension of the protocol has them.

use super::failure::Failure;
use super::queue::Row;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Counts and total times since the server started.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Requests that were answered, with the time from their admission.
    success: Total,
    /// Requests of which an image was not computed.
    fail: Total,
    /// Time in the queue, of the image of each request that waited longest.
    queue: Total,
    /// Time of forward passes, of the longest of each request.
    compute: Total,
    /// Images of requests that were answered.
    images: AtomicU64,
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
    /// Counts a request by its rows.
    pub fn add(&self, rows: &[Result<Row, Failure>], time: Duration) {
        let done: Vec<&Row> = rows.iter().flatten().collect();
        if done.len() < rows.len() || done.is_empty() {
            return self.fail.add(time);
        }
        let longest = |time: fn(&Row) -> Duration| done.iter().map(|row| time(row)).max().unwrap_or_default();
        self.success.add(time);
        self.queue.add(longest(|row| row.wait));
        self.compute.add(longest(|row| row.pass));
        self.images.fetch_add(done.len() as u64, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Counts a batch.
    pub fn add_batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Formats the statistics of a model.
    pub fn of(&self, name: &str, version: &str) -> Value {
        json!({
            "name": name,
            "version": version,
            "last_inference": self.last.load(Ordering::Relaxed),
            "inference_count": self.images.load(Ordering::Relaxed),
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
