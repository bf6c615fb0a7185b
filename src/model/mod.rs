//! The public API: a model on a device, and the sessions that run it.

mod builder;
mod classify;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub mod doctor;
mod encode;
pub mod forward;
#[cfg(feature = "text")]
mod labels;
mod native;
mod plan;
mod resident;
mod session;
mod smoothing;
mod text;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
mod trace;

pub use builder::ModelBuilder;
pub use classify::{Classification, Prediction};
pub use encode::{GpuInput, GpuJob, GpuOutputs};
#[cfg(feature = "text")]
pub use labels::Labels;
pub use session::{Memory, Outputs, Session, images_per_pass};
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub(crate) use trace::Traced;

use crate::data::capabilities::Precision;
use crate::data::config::{Config, Size};
use crate::data::error::Result;
use crate::data::record::{Output, Recording};
#[cfg(feature = "text")]
use crate::execution::checkpoint::Folder;
use crate::execution::checkpoint::{Checkpoint, Positions, WeightInfo, Weights};
use crate::execution::device::Device;
use crate::execution::image::Preprocess;
use crate::operations::tuning::Tuning;
use forward::{Request, Tables};
use resident::Resident;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of input sizes whose position tables are kept.
const KEPT_TABLES: usize = 8;

/// A model whose weights are on a device. Clones share the weights. Threads may share a model, each with its own [`Session`].
///
/// ```
/// # fn main() -> vitraux::Result<()> {
/// use vitraux::{Checkpoint, Model, Tensor};
///
/// let model = Model::builder(Checkpoint::digits()).load_blocking()?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| model.session().forward_blocking(&Tensor::zeros([1, 1, 32, 32]), &["logits"]));
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Model(Arc<Loaded>);

struct Loaded {
    config: Config,
    preprocess: Option<Preprocess>,
    weights: Weights<WeightInfo>,
    positions: Positions,
    texts: text::Texts,
    /// Folder with the tokenizer.
    #[cfg(feature = "text")]
    folder: Option<Folder>,
    device: Device,
    resident: Resident,
    precision: Precision,
    /// Sessions that need the same measurement wait on this lock.
    tuning: Mutex<Tuning>,
    /// Position tables by input size, least recently used first.
    sizes: Mutex<Vec<Arc<AtSize>>>,
}

/// State that depends on the input size.
#[derive(Debug)]
struct AtSize {
    size: Size,
    /// Position tables.
    tables: Tables,
    /// The weights, followed by the tables.
    resident: Resident,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({} in {} on {})", self.config().name, self.precision(), self.device())
    }
}

impl Model {
    /// Returns a builder that loads the weights of `checkpoint` to a device.
    pub fn builder(checkpoint: Checkpoint) -> ModelBuilder {
        ModelBuilder::new(checkpoint)
    }

    /// Creates a session that runs the model. It holds compiled plans and their buffers, but no weights.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// Returns the model's architecture.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns the image preprocessing, if the model takes images.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.0.preprocess.as_ref()
    }

    /// Returns the learned positions.
    pub(crate) fn positions(&self) -> &Positions {
        &self.0.positions
    }

    /// Returns the weight precision of dense layers.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// Returns the device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Returns the names of all outputs, in the order in which they are computed. For a text tower next to the image tower, see
    /// [`Model::text_output_names`].
    pub fn output_names(&self) -> Vec<String> {
        forward::output_names(self.config())
    }

    /// Returns the names of the outputs of the text tower, which is this model or belongs to it; none if there is no such tower.
    pub fn text_output_names(&self) -> Vec<String> {
        self.text_config().map(forward::output_names).unwrap_or_default()
    }

    /// Returns whether both share their weights.
    fn is_same(&self, other: &Model) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the shapes that outputs have for an input of this shape, without computing them.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::data::error::Error::Argument) if the shape does not match or an output is unknown.
    pub fn output_shapes(&self, input: &[usize], outputs: &[&str]) -> Result<BTreeMap<String, Vec<usize>>> {
        let size = self.config().input_size(input)?;
        let kept = self.kept_at_size(size);
        let tables = match &kept {
            Some(kept) => &kept.tables,
            None => &Tables::at(self.config(), &self.0.positions, size)?,
        };
        let request = Request { batch: 1, size, masked: false, levels: false, wanted: session::owned(outputs) };
        let recording = Recording::new(self.device().capabilities()).with_precision(self.precision());
        let recording = forward::record(self.config(), &self.0.weights, tables, &request, recording)?;
        let shape = |output: &Output| (output.name.clone(), [&input[..1], &output.shape[1..]].concat());
        Ok(recording.outputs().iter().map(shape).collect())
    }

    /// Returns a copy of the tuning table, including keys that sessions have added.
    pub fn tuning(&self) -> Tuning {
        self.lock_tuning().clone()
    }

    fn lock_tuning(&self) -> MutexGuard<'_, Tuning> {
        // The table is consistent after each insertion.
        self.0.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a forward pass with tuned variants. If the tuning table may grow, missing keys are measured first.
    fn record_tuned(&self, at: &AtSize, request: &Request) -> Result<Recording> {
        loop {
            let mut tuning = self.lock_tuning();
            let recording = Recording::new(self.device().capabilities()).with_precision(self.0.precision).with_choices(tuning.choices());
            let recording = forward::record(self.config(), &self.0.weights, &at.tables, request, recording)?;
            if !tuning.grow(self.device(), recording.asked()) {
                return Ok(recording);
            }
        }
    }

    /// Returns the state for an input size, from an LRU cache.
    async fn at_size(&self, size: Size) -> Result<Arc<AtSize>> {
        if let Some(known) = self.kept_at_size(size) {
            return Ok(known);
        }
        let tables = Tables::at(self.config(), &self.0.positions, size)?;
        let own = Resident::load(self.device(), tables.clone().named().map(Ok), |_| None, false).await?;
        let made = Arc::new(AtSize { size, tables, resident: self.0.resident.joined(&own) });
        let mut kept = self.lock_sizes();
        if kept.len() == KEPT_TABLES {
            kept.remove(0);
        }
        kept.push(made.clone());
        Ok(made)
    }

    fn kept_at_size(&self, size: Size) -> Option<Arc<AtSize>> {
        let mut kept = self.lock_sizes();
        let place = kept.iter().position(|known| known.size == size)?;
        let known = kept.remove(place);
        kept.push(known.clone());
        Some(known)
    }

    fn lock_sizes(&self) -> MutexGuard<'_, Vec<Arc<AtSize>>> {
        self.0.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
