//! What most users hold: a model on a device.

use crate::checkpoint::{Checkpoint, Weight, Weights};
use crate::config::{Config, Preprocess};
use crate::device::Device;
#[cfg(not(target_arch = "wasm32"))]
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, WeightBuffers};
use crate::preprocess::Picture;
use crate::record::{Output, Recording};
use crate::tensor::Tensor;
use crate::{cpu, gpu, model};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The most images of one pass over the device. Larger batches are cut: the matrix products are large
/// enough long before this, and scratch memory grows with it.
const LARGEST_PASS: usize = 64;

/// Plans that are kept: a caller alternates between few batch sizes, and each plan holds scratch memory.
const KEPT_PLANS: usize = 4;

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

/// A model on a device. Compiled plans are kept, one for each batch size and set of outputs.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    preprocess: Preprocess,
    weights: Weights<Weight>,
    device: Device,
    resident: Resident,
    /// The one used last is the last.
    plans: Vec<Plan>,
}

/// The weights where the device reads them.
#[derive(Debug)]
enum Resident {
    Cpu(Arc<cpu::Weights>),
    Gpu(Arc<Gpu>, WeightBuffers),
}

#[derive(Debug)]
struct Plan {
    batch: usize,
    wanted: Vec<String>,
    outputs: Vec<Output>,
    executor: Executor,
}

#[derive(Debug)]
enum Executor {
    Cpu(cpu::Plan),
    Gpu(gpu::Plan),
}

impl Engine {
    /// Brings a model's weights to a device.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a weight is not finite, [`Error::Device`] if memory runs out.
    pub async fn load(checkpoint: Checkpoint, device: Device) -> Result<Engine> {
        let numbered = checkpoint.numbered_weights();
        let resident = match &device {
            Device::Gpu(gpu) => {
                let tensors = numbered.iter().map(|weight| (weight.name.as_str(), &weight.tensor));
                Resident::Gpu(gpu.clone(), WeightBuffers::upload(gpu, tensors).await?)
            }
            Device::Cpu => {
                let factors: HashSet<&str> = checkpoint.weights.linears().map(|linear| linear.weight.name.as_str()).collect();
                let tensors = numbered.into_iter().map(|weight| (weight.name, weight.tensor));
                Resident::Cpu(Arc::new(cpu::Weights::load(tensors, |name| factors.contains(name))?))
            }
        };
        let Checkpoint { config, preprocess, weights } = checkpoint;
        Ok(Engine { config, preprocess, weights, device, resident, plans: Vec::new() })
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

    /// How pictures are prepared.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs the model on `pixel_values` `[B, channels, height, width]` and gives the outputs `wanted`, by the
    /// names of [`output_names`](crate::model::output_names). A batch that is too large for one pass is cut into several.
    ///
    /// # Errors
    /// [`Error::Argument`] for another shape or an unknown output, [`Error::Limit`] if not even one image
    /// fits the device, [`Error::Device`] if it fails.
    pub async fn forward(&mut self, pixel_values: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        let Config { channels, image: [height, width], .. } = self.config;
        let batch = match *pixel_values.shape() {
            [batch, c, h, w] if [c, h, w] == [channels, height, width] && batch > 0 => batch,
            ref found => {
                return Err(Error::Argument(format!("pixel_values: expected [B, {channels}, {height}, {width}] with B > 0, found {found:?}")));
            }
        };
        let values = pixel_values.finite_values("pixel_values")?;
        let mut outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let mut done = 0;
        while done < batch {
            let plan = self.plan(batch - done, wanted).await?;
            let images = &values[done * channels * height * width..][..plan.batch * channels * height * width];
            done += plan.batch;
            let results = match plan.executor.run(images).await {
                Ok(results) => results,
                Err(error) => {
                    // Its transfer buffers are in no known state.
                    self.plans.pop();
                    return Err(error);
                }
            };
            for (output, values) in plan.outputs.iter().zip(results) {
                let (shape, all) = outputs.entry(output.name.clone()).or_insert_with(|| (output.shape.clone(), Vec::new()));
                shape[0] = done;
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
    pub fn forward_blocking(&mut self, pixel_values: &Tensor, wanted: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward(pixel_values, wanted))
    }

    /// The `top` most probable classes of a picture, the most probable first.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Argument`] if the model has no head.
    pub async fn classify(&mut self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        let pixel_values = self.preprocess.apply(picture)?;
        let outputs = self.forward(&pixel_values, &["logits", "probabilities"]).await?;
        Ok(self.ranked(&outputs["logits"].values(), &outputs["probabilities"].values(), top))
    }

    /// [`Engine::classify`], waiting for the device.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn classify_blocking(&mut self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        pollster::block_on(self.classify(picture, top))
    }

    fn ranked(&self, logits: &[f32], probabilities: &[f32], top: usize) -> Vec<Prediction> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let prediction = |index: usize| Prediction {
            index,
            label: self.config.labels.get(index).cloned(),
            probability: probabilities[index],
            logit: logits[index],
        };
        order.into_iter().take(top).map(prediction).collect()
    }

    /// A plan for as many of `images` as fit the device in one pass.
    async fn plan(&mut self, images: usize, wanted: &[&str]) -> Result<&mut Plan> {
        let mut batch = images.min(LARGEST_PASS);
        let plan = loop {
            if let Some(place) = self.plans.iter().position(|plan| plan.batch == batch && plan.wanted == wanted) {
                break self.plans.remove(place);
            }
            match model::record(&self.config, &self.weights, batch, wanted, self.device.limits()) {
                Ok(recording) => break self.compile(batch, wanted, recording).await?,
                Err(Error::Limit(_)) if batch > 1 => batch = batch.div_ceil(2),
                Err(error) => return Err(error),
            }
        };
        if self.plans.len() == KEPT_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        Ok(self.plans.last_mut().expect("just pushed"))
    }

    async fn compile(&self, batch: usize, wanted: &[&str], recording: Recording) -> Result<Plan> {
        let outputs = recording.outputs().to_vec();
        let executor = match &self.resident {
            Resident::Gpu(gpu, weights) => Executor::Gpu(gpu::Plan::compile(gpu.clone(), &recording, weights).await?),
            Resident::Cpu(weights) => Executor::Cpu(cpu::Plan::new(recording, weights.clone())),
        };
        Ok(Plan { batch, wanted: wanted.iter().map(|name| (*name).to_owned()).collect(), outputs, executor })
    }
}

impl Executor {
    async fn run(&mut self, pixel_values: &[f32]) -> Result<Vec<Vec<f32>>> {
        match self {
            Executor::Cpu(plan) => Ok(plan.run(&[pixel_values])),
            Executor::Gpu(plan) => plan.run(&[pixel_values]).await,
        }
    }
}
