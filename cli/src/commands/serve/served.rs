//! Models that are served.

use super::cores::Cores;
use super::failure::Failure;
use super::memory::{Memory, Share};
use super::metrics::ModelMetrics;
use super::output_memory::OutputMemory;
use super::queue::{Batching, Queue, Row};
use super::statistics::Statistics;
use crate::commands::embed::{Vectors, What};
use crate::commands::guard::guarded;
use crate::commands::images::{ImageLimitArgs, Preparation};
use crate::commands::messages::chain;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use vitraux::config::{Config, Size};
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
    /// For parsing and formatting.
    pub cores: Cores,
    decoders: Cores,
    pub metrics: ModelMetrics,
    pub statistics: Statistics,
    preparation: Arc<Preparation>,
    memory: OutputMemory,
    /// Time that a request may take after its body has arrived.
    time: Duration,
}

/// Places in the queue for the images of a request, and the time by which they must be computed.
pub struct Admission {
    places: OwnedSemaphorePermit,
    start: tokio::time::Instant,
}

/// Rows of a request's images, with their share of the memory.
pub struct Rows {
    pub rows: Vec<Result<Row, Failure>>,
    pub share: Share,
}

/// Settings and limits that all models share.
#[derive(Clone)]
pub struct Shared {
    pub batching: Batching,
    /// For parsing and formatting, which do not wait until images are decoded.
    pub cores: Cores,
    pub decoders: Cores,
    pub memory: Arc<Memory>,
    /// Bytes of the outputs of a request.
    pub largest: usize,
    pub time: Duration,
    pub allow_nan: bool,
    pub limit: ImageLimitArgs,
    /// Size of images that the user chose.
    pub chosen_size: Option<[usize; 2]>,
}

impl ServedModel {
    pub fn new(name: String, model: Model, metrics: ModelMetrics, shared: Shared) -> ServedModel {
        let Shared { batching, cores, decoders, memory, largest, time, allow_nan, limit, chosen_size } = shared;
        let (config, preprocess) = (model.config().clone(), model.preprocess().expect("it takes images").clone());
        let vectors = Vectors::new(&config, What::Features, false).ok();
        let pixels = match chosen_size.map_or(config.native_size(), Size::Image) {
            Size::Image([height, width]) => Some(height * width),
            _ => None,
        };
        let preparation = Arc::new(Preparation { preprocess, config, limit, chosen_size, archive: None });
        let queue = Queue::new(batching, pixels, metrics.clone());
        ServedModel {
            name,
            model,
            vectors,
            allow_nan,
            queue,
            cores,
            decoders,
            metrics,
            statistics: Statistics::default(),
            preparation,
            memory: OutputMemory::new(memory, largest),
            time,
        }
    }

    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// Admits the images of a request.
    ///
    /// # Errors
    /// If there is no place for them.
    pub fn admit(&self, images: usize) -> Result<Admission, Failure> {
        Ok(Admission { places: self.queue.admit(images)?, start: tokio::time::Instant::now() })
    }

    /// Decodes and preprocesses images. One that cannot be read has an error of its own.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn prepare<T: Send + 'static>(
        &self,
        admission: &Admission,
        images: Vec<T>,
        of: fn(&Preparation, T) -> vitraux::Result<Tensor>,
    ) -> Result<Vec<Result<Tensor, Failure>>, Failure> {
        // If the client disconnects, the set is dropped, and with it the images whose turn has not come.
        let mut images: JoinSet<_> = images
            .into_iter()
            .enumerate()
            .map(|(i, image)| {
                let prepared = self.prepare_one(image, of);
                async move { (i, prepared.await) }
            })
            .collect();
        let mut prepared = Vec::with_capacity(images.len());
        while let Some(image) = timeout_at(self.deadline(admission), images.join_next()).await.map_err(|_| self.too_late())? {
            prepared.push(image.expect("panics are caught"));
        }
        prepared.sort_by_key(|(i, _)| *i);
        Ok(prepared.into_iter().map(|(_, image)| image.map_err(|message| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message))).collect())
    }

    fn prepare_one<T: Send + 'static>(
        &self,
        image: T,
        of: fn(&Preparation, T) -> vitraux::Result<Tensor>,
    ) -> impl Future<Output = Result<Tensor, String>> + Send + use<T> {
        let (preparation, seconds) = (self.preparation.clone(), self.metrics.decode_seconds.clone());
        let prepared = self.decoders.run(move || {
            let start = Instant::now();
            let prepared = guarded(|| of(&preparation, image));
            seconds.observe(start.elapsed().as_secs_f64());
            prepared
        });
        async move {
            match prepared.await {
                Ok(Some(prepared)) => prepared.map_err(|error| chain(&error)),
                Ok(None) | Err(_) => Err("the image is damaged".to_owned()),
            }
        }
    }

    /// Returns the pixel values of a black image.
    pub fn blank(&self) -> vitraux::Result<Tensor> {
        let channels = self.config().patches().map_or(0, |patches| patches.channels);
        self.preparation.preprocess.apply(&Image::new([1, 1], channels, vec![0; channels])?)
    }

    /// Computes outputs of the images that could be prepared, in batches with those of other requests.
    ///
    /// # Errors
    /// If an output is unknown, or if the outputs take too much memory. The failure of an image is its own.
    pub async fn compute(&self, admission: Admission, prepared: Vec<Result<Tensor, Failure>>, outputs: Vec<String>) -> Result<Rows, Failure> {
        let images: Vec<Tensor> = prepared.iter().filter_map(|image| image.as_ref().ok().cloned()).collect();
        images.iter().try_for_each(|image| self.check_size(image)).map_err(|error| Failure::of_pass(&error))?;
        let share = self.memory.take(&self.model, &images, &outputs)?;
        let mut rows = self.run(images, admission, outputs).await.into_iter();
        let rows = prepared.into_iter().map(|image| image.and_then(|_| rows.next().expect("a row for each image"))).collect();
        Ok(Rows { rows, share })
    }

    /// Checks images that were not prepared here.
    fn check_size(&self, image: &Tensor) -> vitraux::Result<()> {
        match *image.shape() {
            [_, _, height, width] => self.preparation.check_tokens([height, width]),
            _ => Ok(()),
        }
    }

    /// Computes outputs of images `[1, channels, height, width]`.
    async fn run(&self, images: Vec<Tensor>, admission: Admission, outputs: Vec<String>) -> Vec<Result<Row, Failure>> {
        let (count, deadline, start) = (images.len(), self.deadline(&admission), admission.start);
        let answers = self.queue.submit(images, admission.places, outputs.into());
        let mut rows = Vec::with_capacity(count);
        for answer in answers {
            rows.push(match timeout_at(deadline, answer).await {
                Ok(Ok(row)) => row.and_then(|row| self.checked(row)),
                Ok(Err(_)) => Err(Failure::unavailable("the server is shutting down")),
                Err(_) => Err(self.too_late()),
            });
        }
        self.statistics.add(&rows, start.elapsed());
        rows
    }

    fn deadline(&self, admission: &Admission) -> tokio::time::Instant {
        admission.start + self.time
    }

    fn too_late(&self) -> Failure {
        Failure::unavailable(format!("not computed within {} s", self.time.as_secs()))
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
