//! Dynamic batching: images wait until a batch is full or the first of them has waited long enough.

use super::failure::Failure;
use super::metrics::ModelMetrics;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use vitraux::{Outputs, Tensor};

/// Sizes of batches and of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Maximum number of images per batch; fewer of those that are larger than the model's own size.
    pub max_batch: usize,
    /// Maximum time for which an image waits for others.
    pub max_wait: Duration,
    /// Maximum number of images that wait while a batch is computed.
    pub queue: usize,
}

/// An image that waits to be computed.
pub struct Job {
    /// `pixel_values` `[1, channels, height, width]`.
    pub pixel_values: Tensor,
    pub outputs: Arc<[String]>,
    pub answer: oneshot::Sender<Result<Row, Failure>>,
    pub arrival: Instant,
    /// Its place among those admitted.
    pub place: OwnedSemaphorePermit,
}

/// Outputs of an image: a row of those of its batch.
#[derive(Debug)]
pub struct Row {
    pub outputs: Arc<Outputs>,
    pub index: usize,
    /// Time in the queue.
    pub wait: Duration,
    /// Time of the forward pass.
    pub pass: Duration,
}

impl Row {
    /// Returns the shape of an output, without the batch.
    pub fn shape(&self, output: &str) -> &[usize] {
        &self.outputs[output].shape()[1..]
    }

    /// Returns the values of an output.
    pub fn values(&self, output: &str) -> Cow<'_, [f32]> {
        let len = self.shape(output).iter().product::<usize>();
        let row = self.index * len..(self.index + 1) * len;
        match self.outputs[output].values() {
            Cow::Borrowed(values) => Cow::Borrowed(&values[row]),
            Cow::Owned(values) => Cow::Owned(values[row].to_vec()),
        }
    }
}

/// Images that wait for a model.
pub struct Queue {
    batching: Batching,
    /// Pixels of an image of the model's own size, if it has one.
    pixels: Option<usize>,
    /// Places of images that are decoded, wait or are computed.
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// Notified when an image arrives or the queue is closed.
    changed: Condvar,
    /// Duration of the last batch, in microseconds.
    last_batch: AtomicU64,
    metrics: ModelMetrics,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    pub fn new(batching: Batching, pixels: Option<usize>, metrics: ModelMetrics) -> Queue {
        let places = Arc::new(Semaphore::new(batching.max_batch + batching.queue));
        let (waiting, changed, last_batch) = Default::default();
        Queue { batching, pixels, places, waiting, changed, last_batch, metrics }
    }

    /// Returns the sizes of batches and of the queue.
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Returns the number of images that may be under way, and that a request may have.
    pub fn places(&self) -> usize {
        self.batching.max_batch + self.batching.queue
    }

    /// Takes places for the images of a request, which hold them until they are computed.
    ///
    /// # Errors
    /// If the request has more images than there are places, or more than are free.
    pub fn admit(&self, images: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let most = self.places();
        if images == 0 {
            return Err(Failure::invalid("expected at least one image, found none"));
        }
        if images > most {
            return Err(Failure::too_many_images(most));
        }
        self.places.clone().try_acquire_many_owned(images as u32).map_err(|_| {
            self.metrics.rejected.inc_by(images as u64);
            let batches = 2.0 * self.last_batch.load(Ordering::Relaxed) as f64 / 1e6;
            Failure::busy("the queue is full", batches.ceil().max(1.0) as u64)
        })
    }

    /// Computes outputs of images, of which each takes one of the places.
    pub fn submit(
        &self,
        images: Vec<Tensor>,
        mut places: OwnedSemaphorePermit,
        outputs: Arc<[String]>,
    ) -> Vec<oneshot::Receiver<Result<Row, Failure>>> {
        let arrival = Instant::now();
        let (jobs, answers): (Vec<Job>, Vec<_>) = images
            .into_iter()
            .map(|pixel_values| {
                let (answer, receiver) = oneshot::channel();
                let place = places.split(1).expect("a place for each image");
                (Job { pixel_values, outputs: outputs.clone(), answer, arrival, place }, receiver)
            })
            .unzip();
        let mut waiting = self.waiting();
        if !waiting.is_closed {
            waiting.jobs.extend(jobs);
            self.metrics.queue.set(waiting.jobs.len() as i64);
        }
        self.changed.notify_one();
        answers
    }

    /// Lets the worker end when no image waits any more.
    pub fn close(&self) {
        self.waiting().is_closed = true;
        self.changed.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the queue and drops the images that wait, which are not answered then.
    pub fn abandon(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.jobs.clear();
    }

    /// Notes how long a batch took, so that rejected clients learn when to try again.
    pub fn note_duration(&self, duration: Duration) {
        self.last_batch.store(duration.as_micros() as u64, Ordering::Relaxed);
    }

    /// Returns whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.waiting().is_closed
    }

    /// Waits for the images of the next batch, which are of one kind. Returns `None` when the queue is closed and empty.
    pub fn next_batch(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting();
        loop {
            // Clients that have gone need no answer.
            waiting.jobs.retain(|job| !job.answer.is_closed());
            self.metrics.queue.set(waiting.jobs.len() as i64);
            let Some(first) = waiting.jobs.front() else {
                if waiting.is_closed {
                    return None;
                }
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = (first.arrival + self.batching.max_wait).saturating_duration_since(Instant::now());
            // Full batches of other kinds do not keep an image waiting longer than that.
            let ready = if left.is_zero() || waiting.is_closed { Some(first.kind()) } else { self.full_kind(&waiting.jobs) };
            let Some((shape, outputs)) = ready.map(|(shape, outputs)| (shape.to_vec(), outputs.clone())) else {
                waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let most = self.largest_batch(&shape);
            let mut batch = Vec::with_capacity(most);
            let mut others = VecDeque::new();
            for job in waiting.jobs.drain(..) {
                let is_taken = batch.len() < most && job.kind() == (&shape, &outputs);
                if is_taken { batch.push(job) } else { others.push_back(job) }
            }
            self.metrics.queue.set(others.len() as i64);
            waiting.jobs = others;
            return Some(batch);
        }
    }

    /// Returns the maximum number of images `[1, channels, height, width]` per batch. Requests choose the size of tensors, and a batch cannot be stopped.
    fn largest_batch(&self, shape: &[usize]) -> usize {
        let Some(own) = self.pixels else { return self.batching.max_batch };
        let pixels = shape.iter().skip(2).product::<usize>().max(own);
        (self.batching.max_batch * own / pixels).max(1)
    }

    /// Returns the first kind of which there are enough images for a full batch.
    fn full_kind<'a>(&self, jobs: &'a VecDeque<Job>) -> Option<Kind<'a>> {
        let mut counts: Vec<(Kind, usize)> = Vec::new();
        for kind in jobs.iter().map(Job::kind) {
            let place = counts.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
                counts.push((kind, 0));
                counts.len() - 1
            });
            counts[place].1 += 1;
            if counts[place].1 == self.largest_batch(kind.0) {
                return Some(kind);
            }
        }
        None
    }
}

/// Shape and outputs of images that share a batch.
type Kind<'a> = (&'a [usize], &'a Arc<[String]>);

impl Job {
    fn kind(&self) -> Kind<'_> {
        (self.pixel_values.shape(), &self.outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    /// A queue of batches of two images.
    fn queue(max_wait: Duration) -> Queue {
        Queue::new(Batching { max_batch: 2, max_wait, queue: 4 }, Some(4), Metrics::new().of_model("m"))
    }

    /// Submits an image that is wanted.
    fn submit(queue: &Queue, output: &str) -> oneshot::Receiver<Result<Row, Failure>> {
        submit_of_width(queue, 2, output)
    }

    fn submit_of_width(queue: &Queue, width: usize, output: &str) -> oneshot::Receiver<Result<Row, Failure>> {
        let places = queue.admit(1).expect("a place");
        let mut answers = queue.submit(vec![Tensor::zeros([1, 1, 2, width])], places, Arc::new([output.to_owned()]));
        answers.remove(0)
    }

    fn outputs(batch: Option<Vec<Job>>) -> Vec<String> {
        batch.expect("a batch").iter().map(|job| job.outputs[0].clone()).collect()
    }

    #[test]
    fn a_full_batch_does_not_wait_for_an_image_of_another_kind() {
        let queue = queue(Duration::from_secs(10));
        let _answers = [submit(&queue, "a"), submit(&queue, "b"), submit(&queue, "b")];
        assert_eq!(outputs(queue.next_batch()), ["b", "b"]);
        queue.close();
        assert_eq!(outputs(queue.next_batch()), ["a"]);
        assert!(queue.next_batch().is_none());
    }

    #[test]
    fn large_images_share_a_batch_with_fewer() {
        let queue = queue(Duration::from_secs(10));
        let _answers = [4, 4, 3, 3].map(|width| submit_of_width(&queue, width, "a"));
        for _ in 0..4 {
            assert_eq!(outputs(queue.next_batch()), ["a"]);
        }
    }

    #[test]
    fn an_image_that_has_waited_goes_before_full_batches() {
        let queue = queue(Duration::ZERO);
        let _answers = [submit(&queue, "a"), submit(&queue, "b"), submit(&queue, "b")];
        assert_eq!(outputs(queue.next_batch()), ["a"]);
        assert_eq!(outputs(queue.next_batch()), ["b", "b"]);
    }
}
