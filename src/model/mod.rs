//! What most users hold: a model on a device, and sessions that run it.

mod builder;
mod classify;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub mod doctor;
#[cfg(not(target_arch = "wasm32"))]
mod encode;
pub mod forward;
mod plan;
mod resident;
mod session;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
mod trace;

pub use builder::ModelBuilder;
pub use classify::{Classification, Prediction};
#[cfg(not(target_arch = "wasm32"))]
pub use encode::{GpuInput, GpuJob, GpuOutputs};
pub use session::{Memory, Outputs, Session};
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub(crate) use trace::Traced;

use crate::data::capabilities::Precision;
use crate::data::config::{Config, Size};
use crate::data::error::Result;
use crate::data::record::Recording;
use crate::execution::checkpoint::{Checkpoint, PositionTable, WeightInfo, Weights};
use crate::execution::device::Device;
use crate::execution::image::Preprocess;
use crate::operations::tuning::Tuning;
use forward::{Request, Tables};
use resident::Resident;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sizes of inputs whose position tables are kept.
const KEPT_TABLES: usize = 8;

/// A model whose weights are on a device. Clones share the weights, and threads may share a model: each runs it in a [`Session`] of its own.
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
    positions: Option<PositionTable>,
    device: Device,
    resident: Resident,
    precision: Precision,
    /// Sessions that need the same measurement wait for it here.
    tuning: Mutex<Tuning>,
    /// The one used last is the last.
    sizes: Mutex<Vec<Arc<AtSize>>>,
}

/// What depends on the size of inputs.
#[derive(Debug)]
struct AtSize {
    size: Size,
    /// What positions add.
    tables: Tables,
    /// The weights, and the tables beside them.
    resident: Resident,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({} in {} on {})", self.config().name, self.precision(), self.device())
    }
}

impl Model {
    /// Loads a checkpoint's weights to a device.
    pub fn builder(checkpoint: Checkpoint) -> ModelBuilder {
        ModelBuilder::new(checkpoint)
    }

    /// A session, which runs the model. It holds compiled plans and their buffers, but no weights.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// How images are prepared, if the model takes images.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.0.preprocess.as_ref()
    }

    /// The precision of the weights of dense layers.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The tuning table as it is now; sessions may have added to it.
    pub fn tuning(&self) -> Tuning {
        self.lock_tuning().clone()
    }

    fn lock_tuning(&self) -> MutexGuard<'_, Tuning> {
        // A table is whole after each insertion.
        self.0.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A forward pass by the variants that are tuned; what is missing from the tuning table is measured first, where the table grows.
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

    /// What inputs of a size need: made once for each size, and kept while others do not take its place.
    async fn at_size(&self, size: Size) -> Result<Arc<AtSize>> {
        if let Some(known) = self.kept_at_size(size) {
            return Ok(known);
        }
        let tables = Tables::at(self.config(), self.0.positions.as_ref(), size)?;
        let own = Resident::load(self.device(), tables.clone().named(), |_| None).await?;
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
