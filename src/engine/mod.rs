//! What most users hold: a model on a device.

#[cfg(not(target_arch = "wasm32"))]
mod encode;
mod plan;
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
mod trace;

#[cfg(not(target_arch = "wasm32"))]
pub use encode::{GpuInput, GpuJob, GpuOutputs};
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub(crate) use trace::Traced;

use crate::capabilities::{Capabilities, Precision};
use crate::checkpoint::{Checkpoint, PositionTable, WeightInfo, Weights};
use crate::config::{Classifier, Config, Input, Preprocess, Size};
use crate::device::Device;
#[cfg(not(target_arch = "wasm32"))]
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Progress, WeightBuffers};
use crate::model::{Request, Tables};
use crate::preprocess::Picture;
use crate::record::Recording;
#[cfg(not(target_arch = "wasm32"))]
use crate::record::Timing;
use crate::tensor::Tensor;
use crate::tuning::Tuning;
use crate::{cpu, model};
use plan::{Contents, Plan};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The most images of one pass over the device. Larger batches are cut: the matrix products are large enough long before this, the images of
/// one pass are copied while the device computes another one, and scratch memory grows with it.
const LARGEST_PASS: usize = 32;

/// Passes that are begun before the first of them is waited for: the inputs of the next are copied while the device computes.
const UNDER_WAY: usize = 2;

/// Plans that are kept: a caller alternates between few batch sizes, and each plan holds scratch memory.
const KEPT_PLANS: usize = 4;

/// Sizes of inputs whose position tables are kept.
const KEPT_TABLES: usize = 8;

/// Tensors by the names of [`output_names`](crate::model::output_names).
pub type Outputs = BTreeMap<String, Tensor>;

/// A class with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class's number.
    pub index: usize,
    /// Its name, if the checkpoint has names.
    pub label: Option<String>,
    /// Softmax of the logits.
    pub probability: f32,
    /// Raw score.
    pub logit: f32,
}

/// What a classifier says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The classifier's name; empty for the model's own.
    pub head: String,
    /// Its most probable classes, the most probable first.
    pub top: Vec<Prediction>,
}

/// A model on a device. Compiled plans are kept, one for each batch size, input size and set of outputs.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    preprocess: Option<Preprocess>,
    weights: Weights<WeightInfo>,
    positions: Option<PositionTable>,
    device: Device,
    resident: Resident,
    /// What positions add, for each size of inputs, and it beside the weights; the one used last is the last.
    tables: Vec<(Size, Tables, Resident)>,
    options: Options,
    /// The one used last is the last.
    plans: Vec<Plan>,
    /// Of pictures in textures, by their sizes; the one used last is the last.
    #[cfg(not(target_arch = "wasm32"))]
    samplers: Vec<Arc<crate::gpu::Sampler>>,
}

/// How a model is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In what bits the factors of products are kept.
    pub precision: Precision,
    /// Which kernels are taken.
    pub tuning: Tuning,
}

/// Weights where the device reads them.
#[derive(Clone, Debug)]
enum Resident {
    Cpu(Arc<cpu::Weights>),
    Gpu(Arc<Gpu>, WeightBuffers),
}

/// What a pass takes of a device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Images of a pass: a larger batch is cut into several.
    pub images: usize,
    /// The model's weights, which all passes share.
    pub weights: u64,
    /// What only this batch size has: inputs, each beside what it is uploaded from, scratch, and outputs.
    pub pass: u64,
}

impl Engine {
    /// Brings a model's weights to a device.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a weight is not finite, [`Error::Device`] if memory runs out.
    pub async fn load(checkpoint: Checkpoint, device: Device) -> Result<Engine> {
        Engine::load_with(checkpoint, device, Options::default()).await
    }

    /// [`Engine::load`] with a choice of how the model is run.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub async fn load_with(checkpoint: Checkpoint, device: Device, options: Options) -> Result<Engine> {
        let capabilities = device.capabilities();
        Engine::load_as_for(checkpoint, device, options, &capabilities).await
    }

    /// [`Engine::load_with`] with weights as they are on a device that can do this: for who compares both.
    pub(crate) async fn load_as_for(checkpoint: Checkpoint, device: Device, options: Options, capabilities: &Capabilities) -> Result<Engine> {
        let Checkpoint { config, preprocess, weights, positions, .. } = checkpoint;
        // Each tensor is let go as soon as the device has it.
        let mut tensors = Vec::new();
        let Ok(weights) = weights.try_map_all(|weight| {
            let info = weight.info();
            tensors.push((weight.name, weight.tensor));
            Ok::<WeightInfo, std::convert::Infallible>(info)
        });
        let factors = weights.factors(options.precision, capabilities);
        let resident = Resident::load(&device, tensors.into_iter(), |name| factors.get(name).copied()).await?;
        Ok(Engine {
            config,
            preprocess,
            weights,
            positions,
            device,
            resident,
            tables: Vec::new(),
            options,
            plans: Vec::new(),
            #[cfg(not(target_arch = "wasm32"))]
            samplers: Vec::new(),
        })
    }

    /// [`Engine::load`] on a chosen device, waiting for it.
    ///
    /// # Errors
    /// As [`Device::open`] and [`Engine::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_blocking(checkpoint: Checkpoint, choice: &DeviceChoice) -> Result<Engine> {
        pollster::block_on(async { Engine::load(checkpoint, Device::open(choice).await?.0).await })
    }

    /// What is computed.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How pictures are prepared, if the model takes pictures.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }

    /// In what bits the factors of products are kept.
    pub fn precision(&self) -> Precision {
        self.options.precision
    }

    /// Which kernels are taken.
    pub fn tuning(&self) -> &Tuning {
        &self.options.tuning
    }

    /// What the pass that was run last takes; nothing before the first.
    pub fn memory(&self) -> Option<Memory> {
        self.plans.last().map(|plan| plan.memory)
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs the model on `pixel_values` `[B, channels, height, width]`, or on embeddings `[B, N, C]` if it takes
    /// those, and gives the outputs `wanted`, by the names of [`output_names`](crate::model::output_names). Images
    /// may be of any size that the patches divide; learned positions are resampled as the checkpoint's library
    /// does it. A batch that is too large for one pass is cut into several.
    ///
    /// # Errors
    /// [`Error::Argument`] for another shape or an unknown output, [`Error::Limit`] if not even one image
    /// fits the device, [`Error::Device`] if it fails.
    pub async fn forward(&mut self, input: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        self.run(&[input], self.size(input.shape())?, wanted).await
    }

    /// [`Engine::forward`] on sequences of embeddings that are shorter than the tensor `[B, N, C]`: tokens whose
    /// `key_padding_mask` `[B, N]` is not 0 are not attended to.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Argument`] if nothing is left of a sequence, or the model takes images.
    pub async fn forward_masked(&mut self, input: &Tensor, key_padding_mask: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        let size = self.size(input.shape())?;
        let [batch, tokens, _] = *input.shape() else {
            return Err(Error::Argument(format!("key_padding_mask: {} takes images, of which nothing is masked", self.config.name)));
        };
        if key_padding_mask.shape() != [batch, tokens] {
            return Err(Error::Argument(format!("key_padding_mask: expected [{batch}, {tokens}], found {:?}", key_padding_mask.shape())));
        }
        let values = key_padding_mask.finite_values("key_padding_mask")?;
        if let Some(sequence) = values.chunks(tokens).position(|sequence| sequence.iter().all(|&ignored| ignored != 0.0)) {
            return Err(Error::Argument(format!("key_padding_mask: nothing is left of sequence {sequence}; expected a 0 in each row")));
        }
        self.run(&[input, key_padding_mask], size, wanted).await
    }

    /// The size of an input, if the model takes such.
    fn size(&self, found: &[usize]) -> Result<Size> {
        let size = match (&self.config.input, found) {
            (Input::Image(patches), &[batch, channels, height, width]) if channels == patches.channels && batch > 0 => Size::Image([height, width]),
            (Input::Image(patches), _) => {
                return Err(Error::Argument(format!("pixel_values: expected [B, {}, height, width] with B > 0, found {found:?}", patches.channels)));
            }
            (Input::Embeddings { .. }, &[batch, tokens, width]) if width == self.config.width && batch > 0 => Size::Sequence(tokens),
            (Input::Embeddings { .. }, _) => {
                return Err(Error::Argument(format!("input: expected [B, N, {}] with B > 0, found {found:?}", self.config.width)));
            }
        };
        self.config.tokens(size)?;
        Ok(size)
    }

    /// Runs the model on inputs whose first axis is the batch.
    async fn run(&mut self, inputs: &[&Tensor], size: Size, wanted: &[&str]) -> Result<Outputs> {
        let batch = inputs[0].shape()[0];
        let contents = Contents::of(inputs, size, &self.device)?;
        let mut outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let mut under_way = VecDeque::new();
        let mut begun = 0;
        while begun < batch || !under_way.is_empty() {
            if begun < batch && under_way.len() < UNDER_WAY {
                let plan = self.plan(batch - begun, size, [inputs.len() > 1, contents.are_levels()], wanted).await?;
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

    /// [`Engine::forward`], waiting for the device.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_blocking(&mut self, input: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward(input, wanted))
    }

    /// [`Engine::forward_masked`], waiting for the device.
    ///
    /// # Errors
    /// As [`Engine::forward_masked`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_masked_blocking(&mut self, input: &Tensor, key_padding_mask: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward_masked(input, key_padding_mask, wanted))
    }

    /// The `top` most probable classes of a picture, the most probable first, by each classifier that answers
    /// ([`Config::answers`]), in one forward pass.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Argument`] if the model has no classifier, or takes no pictures.
    pub async fn classify(&mut self, picture: &Picture, top: usize) -> Result<Vec<Answer>> {
        let Some(preprocess) = &self.preprocess else {
            return Err(Error::Argument(format!("{} takes no pictures", self.config.name)));
        };
        let pixel_values = preprocess.apply(picture)?;
        Ok(self.classify_batch(&pixel_values, top).await?.remove(0))
    }

    /// [`Engine::classify`] for each image of `pixel_values` `[B, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub async fn classify_batch(&mut self, pixel_values: &Tensor, top: usize) -> Result<Vec<Vec<Answer>>> {
        let answers = self.config.answers();
        if answers.is_empty() {
            return Err(Error::Argument(format!("{} has no classifier; give it one, or ask for its features", self.config.name)));
        }
        let suffixes: Vec<String> = answers.iter().map(|(suffix, _)| suffix.clone()).collect();
        let names: Vec<String> = suffixes.iter().flat_map(|suffix| ["logits", "probabilities"].map(|name| format!("{name}{suffix}"))).collect();
        let outputs = self.forward(pixel_values, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let answer = |image: usize, suffix: &str, classifier: &Classifier| {
            let [logits, probabilities] = ["logits", "probabilities"].map(|name| outputs[&format!("{name}{suffix}")].values());
            let [logits, probabilities] = [&logits, &probabilities].map(|values| &values[image * classifier.classes..][..classifier.classes]);
            Answer { head: suffix.trim_start_matches('_').to_owned(), top: ranked(classifier, logits, probabilities, top) }
        };
        let of_image = |image| self.config.answers().iter().map(|(suffix, classifier)| answer(image, suffix, classifier)).collect();
        Ok((0..pixel_values.shape()[0]).map(of_image).collect())
    }

    /// [`Engine::classify`], waiting for the device.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn classify_blocking(&mut self, picture: &Picture, top: usize) -> Result<Vec<Answer>> {
        pollster::block_on(self.classify(picture, top))
    }

    /// Runs the model as [`Engine::forward`] does, and then again to give the device's time for each kernel call of the last pass; by these
    /// times a [`Job`](crate::gpu::Job) of the same shape and outputs is cut from then on, if the input is a tensor of numbers.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Device`] if the device cannot take times.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile_blocking(&mut self, input: &Tensor, wanted: &[&str]) -> Result<Vec<Timing>> {
        self.forward_blocking(input, wanted)?;
        match &mut self.plans.last_mut().expect("it has just run").executor {
            plan::Executor::Cpu(plan) => Ok(plan.profile()),
            plan::Executor::Gpu(plan) => plan.profile(),
        }
    }

    /// Compiles what a forward pass over inputs of a shape needs, on all cores, and makes its buffers; `progress` is told how many pipelines
    /// are done, and of how many. Of a batch of several passes the first one is made ready; of pictures in textures what every size needs. It is for
    /// [`Engine::encode`] and for tensors of numbers: pictures that [`Preprocess::apply`] has prepared have plans of their own.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub async fn warm_up(&mut self, shape: &[usize], wanted: &[&str], progress: Progress<'_>) -> Result<()> {
        let size = self.size(shape)?;
        #[cfg(not(target_arch = "wasm32"))]
        if let (Some(_), Device::Gpu(gpu)) = (&self.preprocess, &self.device) {
            gpu.warm_up_textures().await?;
        }
        self.plan_telling(shape[0], size, [false; 2], wanted, progress).await.map(drop)
    }

    /// A plan for as many of `images` as fit the device in one pass; whether there is a mask, and whether images come as levels.
    async fn plan(&mut self, images: usize, size: Size, inputs: [bool; 2], wanted: &[&str]) -> Result<&mut Plan> {
        self.plan_telling(images, size, inputs, wanted, &|_, _| ()).await
    }

    /// [`Engine::plan`], with news of how many pipelines are done.
    async fn plan_telling(
        &mut self,
        images: usize,
        size: Size,
        [masked, levels]: [bool; 2],
        wanted: &[&str],
        progress: Progress<'_>,
    ) -> Result<&mut Plan> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        // Passes of one size, as far as that goes.
        let mut request = Request { batch: images.div_ceil(images.div_ceil(LARGEST_PASS)), size, masked, levels, wanted };
        let plan = loop {
            if let Some(place) = self.plans.iter().rposition(|plan| plan.request == request && plan.executor.is_free()) {
                break self.plans.remove(place);
            }
            let place = self.tables_for(size).await?;
            match self.record(place, &request) {
                Ok(recording) if self.options.tuning.grow(&self.device, recording.asked()) => continue,
                Ok(recording) => break Plan::compile(request, recording, &self.tables[place].2, progress).await?,
                Err(Error::Limit(_)) if request.batch > 1 => request.batch = request.batch.div_ceil(2),
                Err(error) => return Err(error),
            }
        };
        if self.plans.len() == KEPT_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        Ok(self.plans.last_mut().expect("just pushed"))
    }

    /// A forward pass, with the tables at a place.
    fn record(&self, place: usize, request: &Request) -> Result<Recording> {
        let Options { precision, tuning } = &self.options;
        let recording = Recording::new(self.device.capabilities()).with_precision(*precision).with_choices(tuning.choices());
        model::record(&self.config, &self.weights, &self.tables[place].1, request, recording)
    }

    /// Where in `tables` is what positions add for a size: made once for each, and kept while others do not take its place.
    async fn tables_for(&mut self, size: Size) -> Result<usize> {
        if let Some(place) = self.tables.iter().position(|(known, ..)| *known == size) {
            let entry = self.tables.remove(place);
            self.tables.push(entry);
        } else {
            let tables = Tables::at(&self.config, self.positions.as_ref(), size)?;
            let own = Resident::load(&self.device, tables.clone().named(), |_| None).await?;
            if self.tables.len() == KEPT_TABLES {
                self.tables.remove(0);
            }
            self.tables.push((size, tables, self.resident.joined(&own)));
        }
        Ok(self.tables.len() - 1)
    }
}

impl Resident {
    /// Brings tensors to a device; `factor` says which are the right factor of products, and in what precision.
    async fn load(device: &Device, tensors: impl Iterator<Item = (String, Tensor)>, factor: impl Fn(&str) -> Option<Precision>) -> Result<Resident> {
        Ok(match device {
            Device::Gpu(gpu) => Resident::Gpu(gpu.clone(), WeightBuffers::upload(gpu, tensors, factor).await?),
            Device::Cpu => Resident::Cpu(Arc::new(cpu::Weights::load(tensors, factor)?)),
        })
    }

    /// These, and then those of the same device.
    fn joined(&self, others: &Resident) -> Resident {
        match (self, others) {
            (Resident::Cpu(weights), Resident::Cpu(others)) => Resident::Cpu(Arc::new(weights.joined(others))),
            (Resident::Gpu(gpu, weights), Resident::Gpu(_, others)) => Resident::Gpu(gpu.clone(), weights.joined(others)),
            _ => unreachable!("an engine has one device"),
        }
    }
}

/// The most probable classes of a classifier, the most probable first.
fn ranked(classifier: &Classifier, logits: &[f32], probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let prediction =
        |index: usize| Prediction { index, label: classifier.labels.get(index).cloned(), probability: probabilities[index], logit: logits[index] };
    order.into_iter().take(top).map(prediction).collect()
}
