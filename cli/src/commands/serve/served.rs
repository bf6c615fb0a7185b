//! Models that are served.

use super::failure::Failure;
use super::metrics::ModelMetrics;
use super::queue::{Batching, Queue, Row};
use super::statistics::Statistics;
use crate::commands::embed::{Vectors, What};
use crate::commands::guard::guarded;
use crate::commands::messages::chain;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use vitraux::config::Config;
use vitraux::preprocess::Preprocess;
use vitraux::{Image, Model, Tensor};

/// A model and the images that wait for it.
pub struct ServedModel {
    pub name: String,
    pub model: Model,
    /// Feature vectors, if the model has any.
    pub vectors: Option<Vectors>,
    /// Whether results that are NaN or infinite are returned.
    pub allow_nan: bool,
    pub queue: Queue,
    preprocess: Preprocess,
    /// Images that may be decoded at a time, of all models.
    decoders: Arc<Semaphore>,
    pub metrics: ModelMetrics,
    pub statistics: Statistics,
    /// Time that a request may take after its body has arrived.
    time: Duration,
}

/// Places in the queue for the images of a request, and the time by which they must be computed.
pub struct Admission {
    places: OwnedSemaphorePermit,
    deadline: tokio::time::Instant,
}

/// Settings and limits that all models share.
#[derive(Clone)]
pub struct Shared {
    pub batching: Batching,
    pub decoders: Arc<Semaphore>,
    pub time: Duration,
    pub allow_nan: bool,
}

impl ServedModel {
    pub fn new(name: String, model: Model, metrics: ModelMetrics, shared: Shared) -> ServedModel {
        let Shared { batching, decoders, time, allow_nan } = shared;
        let vectors = Vectors::new(model.config(), What::Features, false).ok();
        let preprocess = model.preprocess().expect("it takes images").clone();
        let queue = Queue::new(batching, metrics.clone());
        ServedModel { name, model, vectors, allow_nan, queue, preprocess, decoders, metrics, statistics: Statistics::default(), time }
    }

    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// Admits the images of a request.
    ///
    /// # Errors
    /// If there is no place for them.
    pub fn admit(&self, images: usize) -> Result<Admission, Failure> {
        Ok(Admission { places: self.queue.admit(images)?, deadline: tokio::time::Instant::now() + self.time })
    }

    /// Decodes and preprocesses images. One that cannot be read has an error of its own.
    pub async fn prepare<T: Send + 'static>(&self, images: Vec<T>, decode: fn(T) -> vitraux::Result<Image>) -> Vec<Result<Tensor, Failure>> {
        // If the client disconnects, the set is dropped, and with it the images whose turn has not come.
        let mut images: JoinSet<_> = images
            .into_iter()
            .enumerate()
            .map(|(i, image)| {
                let prepared = self.prepare_one(image, decode);
                async move { (i, prepared.await) }
            })
            .collect();
        let mut prepared = Vec::with_capacity(images.len());
        while let Some(image) = images.join_next().await {
            prepared.push(image.expect("panics are caught"));
        }
        prepared.sort_by_key(|(i, _)| *i);
        prepared.into_iter().map(|(_, image)| image.map_err(|message| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message))).collect()
    }

    fn prepare_one<T: Send + 'static>(
        &self,
        image: T,
        decode: fn(T) -> vitraux::Result<Image>,
    ) -> impl Future<Output = Result<Tensor, String>> + use<T> {
        let (preprocess, decoders, seconds) = (self.preprocess.clone(), self.decoders.clone(), self.metrics.decode_seconds.clone());
        async move {
            let turn = decoders.acquire_owned().await.expect("never closed");
            let prepared = tokio::task::spawn_blocking(move || {
                let start = Instant::now();
                let prepared = guarded(|| decode(image).and_then(|image| preprocess.apply(&image)));
                seconds.observe(start.elapsed().as_secs_f64());
                drop(turn);
                prepared
            });
            match prepared.await.expect("panics are caught") {
                Some(prepared) => prepared.map_err(|error| chain(&error)),
                None => Err("the image is damaged".to_owned()),
            }
        }
    }

    /// Returns the pixel values of a black image.
    pub fn blank(&self) -> vitraux::Result<Tensor> {
        let channels = self.config().patches().map_or(0, |patches| patches.channels);
        self.preprocess.apply(&Image::new([1, 1], channels, vec![0; channels])?)
    }

    /// Computes outputs of the images that could be prepared, in batches with those of other requests.
    pub async fn compute(&self, prepared: Vec<Result<Tensor, Failure>>, admission: Admission, outputs: Vec<String>) -> Vec<Result<Row, Failure>> {
        let images = prepared.iter().filter_map(|image| image.as_ref().ok().cloned()).collect();
        let mut rows = self.run(images, admission, outputs).await.into_iter();
        prepared.into_iter().map(|image| image.and_then(|_| rows.next().expect("a row for each image"))).collect()
    }

    /// Computes outputs of images `[1, channels, height, width]`.
    async fn run(&self, images: Vec<Tensor>, admission: Admission, outputs: Vec<String>) -> Vec<Result<Row, Failure>> {
        let Admission { places, deadline } = admission;
        let answers = self.queue.submit(images, places, outputs.into());
        let mut rows = Vec::with_capacity(answers.len());
        for answer in answers {
            rows.push(match timeout_at(deadline, answer).await {
                Ok(Ok(row)) => row.and_then(|row| self.checked(row)),
                Ok(Err(_)) => Err(Failure::unavailable("the server is shutting down")),
                Err(_) => Err(Failure::unavailable(format!("not computed within {} s", self.time.as_secs()))),
            });
        }
        rows
    }

    /// Returns the row unless a value is not finite, which JSON cannot hold.
    fn checked(&self, row: Row) -> Result<Row, Failure> {
        let is_finite = |name: &String| row.values(name).iter().all(|value| value.is_finite());
        match self.allow_nan || row.outputs.keys().all(is_finite) {
            true => Ok(row),
            false => Err(Failure::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "expected finite results, found NaN or infinity: the model's values overflow, or the input is not finite",
            )),
        }
    }
}
