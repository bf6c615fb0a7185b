//! Sessions: plans, their buffers, and batches split into passes.

use super::Model;
use super::plan::{Contents, RequestPlan};
use crate::data::config::{Config, Input, Size};
use crate::data::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::data::record::Timing;
use crate::data::tensor::Tensor;
use crate::execution::cpu;
use crate::execution::device::Device;
use crate::execution::gpu::{Progress, Sampler};
use crate::execution::threads::off_executor;
use crate::model::forward::Request;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Maximum number of images per pass on a software adapter, and on a hardware GPU, which needs that many to fill its multiprocessors. Larger batches are
/// split: the images of one pass are copied while the device computes another, and scratch memory grows with the size of a pass.
const LARGEST_PASS: [usize; 2] = [32, 64];

/// Tokens per pass and thread of a CPU: enough that starting a dispatch takes little of its time, and few enough that most activations stay in cache.
const TOKENS_PER_THREAD: usize = 512;

/// Maximum number of passes in flight: the next inputs are copied while the device computes.
const UNDER_WAY: usize = 2;

/// Maximum number of cached plans. Callers alternate between few batch sizes, and each plan holds scratch memory.
const KEPT_PLANS: usize = 4;

/// Tensors keyed by the names in [`Model::output_names`].
pub type Outputs = BTreeMap<String, Tensor>;

/// Runs a [`Model`]. Caches compiled plans by batch size, input size and set of outputs.
///
/// Async calls do not block the executor: they compile, compute and wait for the device on a separate thread. If the future is dropped, that thread
/// finishes the pass, and the session loses its cached plans. On wasm32, which has no threads, a device of the browser is awaited by its callbacks; only
/// the CPU device computes in place.
#[derive(Debug)]
pub struct Session {
    model: Model,
    pub(super) kept: Kept,
}

/// State that a session keeps between calls.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Cached plans, least recently used first.
    plans: Vec<RequestPlan>,
    /// Texture samplers by image size, least recently used first.
    pub samplers: Vec<Arc<Sampler>>,
    /// Session of the text tower next to an image tower.
    text: Option<Box<Session>>,
}

/// Device memory of a pass, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Images per pass; larger batches are split.
    pub images: usize,
    /// The model's weights, shared by all sessions.
    pub weights: u64,
    /// Memory of this session: inputs with their staging buffers, scratch and outputs.
    pub pass: u64,
}

impl Session {
    pub(super) fn new(model: Model) -> Session {
        Session { model, kept: Kept::default() }
    }

    /// Returns the session's model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the memory of a pass of the most recently used plan, or `None` if there is no plan yet.
    pub fn memory(&self) -> Option<Memory> {
        self.kept.plans.last().map(|plan| plan.memory)
    }

    /// Runs the model on `pixel_values` `[B, channels, height, width]`, or on embeddings `[B, N, C]` if it takes those. Returns the named outputs
    /// ([`Model::output_names`]).
    ///
    /// Images may have any size that [`Config::tokens`](crate::data::config::Config::tokens) accepts; learned positions are resampled as in the
    /// checkpoint's original library. A batch that is too large for one pass is split into several.
    ///
    /// # Errors
    /// - [`Error::Argument`] if the shape does not match or an output is unknown.
    /// - [`Error::Tensor`] if a value of the input is not finite.
    /// - [`Error::Limit`] or [`Error::OutOfMemory`] if not even one image fits the device.
    /// - [`Error::DeviceLost`] or [`Error::Device`] if the device fails; on a lent device always the latter, since the loss is told to the host alone.
    pub async fn forward(&mut self, input: &Tensor, outputs: &[&str]) -> Result<Outputs> {
        let (input, outputs) = (input.clone(), owned(outputs));
        self.off_executor(async move |session: &mut Session| session.forward_here(&input, &outputs).await).await
    }

    /// Blocking version of [`Session::forward`].
    ///
    /// # Errors
    /// Same as [`Session::forward`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_blocking(&mut self, input: &Tensor, outputs: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward_here(input, &owned(outputs)))
    }

    /// Runs [`Session::forward`] on padded sequences of embeddings `[B, N, C]`. Tokens whose `key_padding_mask` `[B, N]` is not 0 are not attended
    /// to.
    ///
    /// # Errors
    /// Same as [`Session::forward`]; also [`Error::Argument`] if a sequence is fully masked or the model takes images.
    pub async fn forward_masked(&mut self, input: &Tensor, key_padding_mask: &Tensor, outputs: &[&str]) -> Result<Outputs> {
        let (input, mask, outputs) = (input.clone(), key_padding_mask.clone(), owned(outputs));
        self.off_executor(async move |session: &mut Session| session.forward_masked_here(&input, &mask, &outputs).await).await
    }

    /// Blocking version of [`Session::forward_masked`].
    ///
    /// # Errors
    /// Same as [`Session::forward_masked`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_masked_blocking(&mut self, input: &Tensor, key_padding_mask: &Tensor, outputs: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward_masked_here(input, key_padding_mask, &owned(outputs)))
    }

    /// Compiles the forward pass for an input shape, on all cores, and allocates its buffers. `progress` receives the number of finished pipelines
    /// and their total.
    ///
    /// If the batch is split into passes, only the first one is prepared. For images in textures, only the pipelines shared by all sizes are
    /// prepared. Applies to [`Session::encode`] and to f32 tensors; images prepared by
    /// [`Preprocess::apply`](crate::execution::image::Preprocess::apply) use separate plans.
    ///
    /// # Errors
    /// Same as [`Session::forward`].
    pub async fn warm_up(&mut self, shape: &[usize], outputs: &[&str], progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Result<()> {
        let (shape, outputs) = (shape.to_vec(), owned(outputs));
        self.off_executor(async move |session: &mut Session| session.warm_up_here(&shape, &outputs, &progress).await).await
    }

    /// Blocking version of [`Session::warm_up`].
    ///
    /// # Errors
    /// Same as [`Session::forward`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn warm_up_blocking(&mut self, shape: &[usize], outputs: &[&str], progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Result<()> {
        pollster::block_on(self.warm_up_here(shape, &owned(outputs), &progress))
    }

    /// Runs the model like [`Session::forward`], then runs the last pass again to time each kernel call on the device. If the input is an f32 tensor,
    /// later [`GpuJob`](super::GpuJob)s of the same shape and outputs size their slices by these times.
    ///
    /// # Errors
    /// Same as [`Session::forward`]; also [`Error::Device`] if the device has no timestamps.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn profile(&mut self, input: &Tensor, outputs: &[&str]) -> Result<Vec<Timing>> {
        let (input, outputs) = (input.clone(), owned(outputs));
        self.off_executor(async move |session: &mut Session| session.profile_here(&input, &outputs).await).await
    }

    /// Blocking version of [`Session::profile`].
    ///
    /// # Errors
    /// Same as [`Session::profile`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile_blocking(&mut self, input: &Tensor, outputs: &[&str]) -> Result<Vec<Timing>> {
        pollster::block_on(self.profile_here(input, &owned(outputs)))
    }

    /// Moves the session's state to a separate thread for long-running work.
    pub(super) async fn off_executor<T: Send + 'static>(&mut self, work: impl AsyncFnOnce(&mut Session) -> T + Send + 'static) -> T {
        let mut lent = Session { model: self.model.clone(), kept: std::mem::take(&mut self.kept) };
        let (kept, result) = off_executor(async move || {
            let result = work(&mut lent).await;
            (lent.kept, result)
        })
        .await;
        self.kept = kept;
        result
    }

    pub(super) async fn forward_here(&mut self, input: &Tensor, outputs: &[String]) -> Result<Outputs> {
        let size = self.lone_size(input.shape())?;
        self.run(&[input], size, false, outputs).await
    }

    /// Returns the size of an input that is all that a pass needs.
    ///
    /// # Errors
    /// [`Error::Argument`] if the shape does not match, or the model takes more inputs than one.
    pub(super) fn lone_size(&self, shape: &[usize]) -> Result<Size> {
        let size = self.model.config().input_size(shape)?;
        match (size, &self.model.config().input) {
            (Size::Patches(_), _) => Err(Error::argument("pixel_values", "patches come with their grids; use forward_patches")),
            (_, Input::Text { .. }) => Err(Error::argument("input", "texts are given as tokens; use forward_text")),
            _ => Ok(size),
        }
    }

    async fn forward_masked_here(&mut self, input: &Tensor, key_padding_mask: &Tensor, outputs: &[String]) -> Result<Outputs> {
        let size = self.model.config().input_size(input.shape())?;
        let [batch, tokens, _] = *input.shape() else {
            return Err(Error::argument("key_padding_mask", format!("{} takes images, which have no padding", self.model.config().name)));
        };
        if self.model.config().is_text() {
            return Err(Error::argument("input", "texts are given as tokens; use forward_text"));
        }
        if key_padding_mask.shape() != [batch, tokens] {
            return Err(Error::argument("key_padding_mask", format!("expected [{batch}, {tokens}], found {:?}", key_padding_mask.shape())));
        }
        let values = key_padding_mask.finite_values("key_padding_mask")?;
        if let Some(sequence) = values.chunks(tokens).position(|sequence| sequence.iter().all(|&ignored| ignored != 0.0)) {
            return Err(Error::argument("key_padding_mask", format!("sequence {sequence} is fully masked; expected at least one 0 in each row")));
        }
        self.run(&[input, key_padding_mask], size, true, outputs).await
    }

    async fn warm_up_here(&mut self, shape: &[usize], outputs: &[String], progress: Progress<'_>) -> Result<()> {
        let size = self.model.config().input_size(shape)?;
        if let (Some(_), Some(gpu)) = (self.model.preprocess(), self.model.device().gpu()) {
            crate::execution::gpu::warm_up_textures(gpu).await?;
        }
        self.plan(shape[0], size, [false; 2], outputs, progress).await.map(drop)
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn profile_here(&mut self, input: &Tensor, outputs: &[String]) -> Result<Vec<Timing>> {
        self.forward_here(input, outputs).await?;
        match &mut self.kept.plans.last_mut().expect("it has just run").executor {
            super::plan::Executor::Cpu(plan) => Ok(plan.profile()),
            super::plan::Executor::Gpu(plan) => plan.profile(),
        }
    }

    /// Returns the session of the text tower next to the image tower.
    pub(super) fn text_session(&mut self, tower: &Model) -> &mut Session {
        self.kept.text.get_or_insert_with(|| Box::new(tower.session()))
    }

    /// Runs the model on inputs whose first axis is the batch.
    pub(super) async fn run(&mut self, inputs: &[&Tensor], size: Size, masked: bool, names: &[String]) -> Result<Outputs> {
        let batch = inputs[0].shape()[0];
        let contents = Contents::of(inputs, size, self.model.device())?;
        let mut outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let mut under_way = VecDeque::new();
        let mut begun = 0;
        while begun < batch || !under_way.is_empty() {
            if begun < batch && under_way.len() < UNDER_WAY {
                let plan = self.plan(batch - begun, size, [masked, contents.are_levels()], names, &|_, _| ()).await?;
                let images = begun..begun + plan.request.batch;
                begun = images.end;
                under_way.push_back((images.len(), plan.outputs.clone(), plan.executor.begin(&contents, images, batch).await?));
                continue;
            }
            let (count, names, pass) = under_way.pop_front().expect("one is under way");
            for (output, values) in names.iter().zip(pass.outputs().await?) {
                let (shape, all) = outputs.entry(output.name.clone()).or_insert_with(|| ([&[0], &output.shape[1..]].concat(), Vec::new()));
                shape[0] += count;
                match all.is_empty() {
                    true => *all = values,
                    false => all.extend(values),
                }
            }
        }
        outputs.into_iter().map(|(name, (shape, values))| Ok((name, Tensor::new(shape, values)?))).collect()
    }

    /// Returns a plan for as many of `images` as fit the device in one pass. The flags tell whether there is a mask, and whether images are 8-bit
    /// levels.
    pub(super) async fn plan(
        &mut self,
        images: usize,
        size: Size,
        [masked, levels]: [bool; 2],
        outputs: &[String],
        progress: Progress<'_>,
    ) -> Result<&mut RequestPlan> {
        let batch = images_per_pass(self.model.config(), self.model.device(), size, images)?;
        let mut request = Request { batch, size, masked, levels, wanted: outputs.to_vec() };
        let plan = loop {
            if let Some(place) = self.kept.plans.iter().rposition(|plan| plan.request == request && plan.executor.is_free()) {
                break self.kept.plans.remove(place);
            }
            let at = self.model.at_size(size).await?;
            match self.model.record_tuned(&at, &request) {
                Ok(recording) => match RequestPlan::compile(request.clone(), recording, &at.resident, progress).await {
                    // Evict plans of other shapes first.
                    Err(Error::OutOfMemory { .. }) if !self.kept.plans.is_empty() => self.kept.plans.clear(),
                    Err(Error::OutOfMemory { .. }) if request.batch > 1 => request.batch = request.batch.div_ceil(2),
                    compiled => break compiled?,
                },
                Err(Error::Limit { .. }) if request.batch > 1 => request.batch = request.batch.div_ceil(2),
                Err(error) => return Err(error),
            }
        };
        if self.kept.plans.len() == KEPT_PLANS {
            self.kept.plans.remove(0);
        }
        self.kept.plans.push(plan);
        Ok(self.kept.plans.last_mut().expect("just pushed"))
    }
}

/// Returns the maximum number of images of a pass, if they fit the device.
///
/// # Errors
/// [`Error::Argument`] if the model does not take this size.
pub(super) fn largest_pass(config: &Config, device: &Device, size: Size) -> Result<usize> {
    Ok(match device.gpu() {
        Some(_) => LARGEST_PASS[usize::from(!device.capabilities().software)],
        None => (TOKENS_PER_THREAD * cpu::threads() / config.tokens(size)?).max(1),
    })
}

/// Returns the number of images in the first pass of a batch, if they fit the device: passes are of equal size, as far as possible.
///
/// # Errors
/// [`Error::Argument`] if the model does not take this size.
pub fn images_per_pass(config: &Config, device: &Device, size: Size, batch: usize) -> Result<usize> {
    Ok(batch.div_ceil(batch.div_ceil(largest_pass(config, device, size)?)))
}

pub(super) fn owned(names: &[impl AsRef<str>]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}
