//! Model loading.

use super::resident::Resident;
use super::smoothing::Smoothing;
use super::text::Texts;
use super::{Loaded, Model};
use crate::data::capabilities::{Capabilities, Precision};
use crate::data::config::NormOrder;
use crate::data::error::Result;
use crate::execution::checkpoint::{Checkpoint, Weight, WeightInfo};
use crate::execution::device::Device;
use crate::execution::threads::off_executor;
use crate::operations::tuning::Tuning;
use std::sync::{Arc, Mutex};

/// Loads a checkpoint's weights to a device.
///
/// ```
/// # fn main() -> vitraux::Result<()> {
/// use vitraux::{Checkpoint, Device, Model, Precision};
///
/// let model = Model::builder(Checkpoint::digits()).device(Device::cpu()).precision(Precision::F16).load_blocking()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load` or `load_blocking`"]
pub struct ModelBuilder {
    checkpoint: Checkpoint,
    device: Option<Device>,
    precision: Precision,
    tuning: Tuning,
    /// Capabilities that determine the weight precisions; by default the device's own.
    layout: Option<Capabilities>,
}

impl ModelBuilder {
    pub(super) fn new(checkpoint: Checkpoint) -> ModelBuilder {
        ModelBuilder { checkpoint, device: None, precision: Precision::default(), tuning: Tuning::default(), layout: None }
    }

    /// Sets the device. Defaults to a hardware GPU if there is one, else the CPU.
    pub fn device(self, device: Device) -> ModelBuilder {
        ModelBuilder { device: Some(device), ..self }
    }

    /// Sets the weight precision of dense layers. Defaults to f32.
    pub fn precision(self, precision: Precision) -> ModelBuilder {
        ModelBuilder { precision, ..self }
    }

    /// Sets the tuning table that selects kernel variants. Without a table, each kernel uses its default variant.
    pub fn tuning(self, tuning: Tuning) -> ModelBuilder {
        ModelBuilder { tuning, ..self }
    }

    /// Stores weights in the precisions used by a device with these capabilities, so that results can be compared.
    #[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
    pub(crate) fn layout_of(self, capabilities: Capabilities) -> ModelBuilder {
        ModelBuilder { layout: Some(capabilities), ..self }
    }

    /// Sets the device and drops the tuning table.
    #[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
    pub(crate) fn untuned_on(self, device: Device) -> ModelBuilder {
        ModelBuilder { device: Some(device), tuning: Tuning::default(), ..self }
    }

    #[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Loads the model on a separate thread; on wasm32, which has none, between callbacks of the browser.
    ///
    /// # Errors
    /// - [`Error::Tensor`](crate::Error::Tensor) if a weight is not finite.
    /// - [`Error::Argument`](crate::Error::Argument) if the checkpoint's preprocessing was changed to one that cannot be.
    /// - [`Error::OutOfMemory`](crate::Error::OutOfMemory) or [`Error::Limit`](crate::Error::Limit) if the weights do not fit the device.
    /// - [`Error::Device`](crate::Error::Device) if the device fails, or a lent one has lower limits than any of WebGPU.
    pub async fn load(self) -> Result<Model> {
        off_executor(async move || self.load_here().await).await
    }

    /// Blocking version of [`ModelBuilder::load`].
    ///
    /// # Errors
    /// Same as [`ModelBuilder::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_blocking(self) -> Result<Model> {
        pollster::block_on(self.load_here())
    }

    pub(super) async fn load_here(self) -> Result<Model> {
        let device = match self.device {
            Some(device) => device,
            None => Device::builder().open_here().await?,
        };
        if let Some(gpu) = device.gpu() {
            gpu.check_limits()?;
        }
        let loaded = self.checkpoint.numbered_weights();
        #[cfg(feature = "text")]
        let folder = self.checkpoint.folder.clone();
        let Checkpoint { config, preprocess, weights, positions, tokens, similarity, text, .. } = self.checkpoint;
        if let Some(preprocess) = &preprocess {
            preprocess.check()?;
        }
        let Ok(infos) = weights.clone().try_map_all(|weight| Ok::<WeightInfo, std::convert::Infallible>(weight.info()));
        let factors = infos.factors(self.precision, &self.layout.unwrap_or_else(|| device.capabilities()));
        let smoothing = match config.norm_order {
            NormOrder::Pre => Smoothing::new(&weights, &factors)?,
            // There, a norm's output is the residual stream too.
            NormOrder::Post | NormOrder::ResidualPost => Smoothing::default(),
        };
        // Frees each tensor as soon as it has been uploaded.
        drop(weights);
        let tensors = loaded.into_iter().map(|Weight { name, tensor, .. }| Ok((name.clone(), smoothing.apply(&name, tensor)?)));
        let resident = Resident::load(&device, tensors, |name| factors.get(name).copied(), self.layout.is_some()).await?;
        Ok(Model(Arc::new(Loaded {
            config,
            preprocess,
            weights: infos,
            positions,
            texts: Texts { tokens, similarity, tower: text, ..Texts::default() },
            #[cfg(feature = "text")]
            folder,
            device,
            resident,
            precision: self.precision,
            tuning: Mutex::new(self.tuning),
            sizes: Mutex::default(),
        })))
    }
}
