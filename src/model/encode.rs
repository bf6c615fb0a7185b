//! Forward passes recorded into a host's command buffers.

use super::Session;
use super::plan::Executor;
use super::session::{largest_pass, owned};
use crate::data::config::Map;
use crate::data::error::{Error, Limit, Result};
use crate::data::tensor::Tensor;
use crate::execution::gpu::{Budget, GpuOutput, InputSource, Job, Sampler, TextureImage};
use crate::execution::image::Preprocess;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of image sizes whose samplers are kept.
const KEPT_SAMPLERS: usize = 8;

/// Input of a forward pass recorded into a host's command buffer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum GpuInput<'a> {
    /// Host values, copied immediately.
    Tensor(&'a Tensor),
    /// A buffer on the model's device with usage `COPY_SRC`, and its shape. Holds f32 values in row-major order; read when the commands execute.
    Buffer(&'a wgpu::Buffer, &'a [usize]),
    /// Textures on the model's device, one per image of the batch. Preprocessed on the device as by
    /// [`Preprocess::apply`](crate::execution::image::Preprocess::apply); 8-bit levels match bit for bit.
    Images(&'a [TextureImage<'a>]),
}

/// Device-resident outputs, keyed by the names in [`Model::output_names`](crate::Model::output_names).
pub type GpuOutputs = BTreeMap<String, GpuOutput>;

impl Session {
    /// Records [`Session::forward`] into a host's encoder. Nothing is submitted, polled or awaited, and the outputs stay on the device.
    ///
    /// The first call for a shape compiles pipelines and allocates buffers. Later calls allocate only a tensor's upload buffer and a few words per
    /// image. The outputs are valid until the commands of the next call with the same shape and outputs execute.
    ///
    /// # Errors
    /// Same as [`Session::forward`]; also [`Error::Limit`] if the batch does not fit the device in one pass, and [`Error::Argument`] if the model is
    /// on the CPU.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, input: GpuInput<'_>, outputs: &[&str]) -> Result<GpuOutputs> {
        let mut job = self.start(input, outputs)?;
        job.encode_slice(encoder, Budget::unlimited());
        Ok(job.outputs())
    }

    /// Starts a forward pass that the host records slice by slice, to keep its frame rate. The session stays usable meanwhile: it compiles another
    /// plan if it needs one.
    ///
    /// # Errors
    /// Same as [`Session::encode`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn start(&mut self, input: GpuInput<'_>, outputs: &[&str]) -> Result<GpuJob> {
        // Does not block: errors are available immediately unless the device is lost.
        pollster::block_on(self.start_async(input, outputs))
    }

    /// [`Session::start`] for browsers, where the device's errors arrive between callbacks.
    ///
    /// # Errors
    /// Same as [`Session::start`].
    pub async fn start_async(&mut self, input: GpuInput<'_>, outputs: &[&str]) -> Result<GpuJob> {
        match input {
            GpuInput::Tensor(tensor) => {
                let values = tensor.finite_values("input")?;
                self.start_from(InputSource::Values(&values), tensor.shape(), outputs).await
            }
            GpuInput::Buffer(buffer, shape) => {
                let bytes = shape.iter().try_fold(4, |bytes: u64, &size| bytes.checked_mul(size as u64)).unwrap_or(u64::MAX);
                if buffer.size() < bytes || !buffer.usage().contains(wgpu::BufferUsages::COPY_SRC) {
                    return Err(Error::argument(
                        "input",
                        format!(
                            "expected a buffer of {bytes} bytes for {shape:?} with usage COPY_SRC, found {} bytes and {:?}",
                            buffer.size(),
                            buffer.usage()
                        ),
                    ));
                }
                self.start_from(InputSource::Buffer(buffer), shape, outputs).await
            }
            GpuInput::Images(images) => {
                let Some(preprocess) = self.model().preprocess().cloned() else {
                    return Err(Error::argument("input", format!("{} takes no images", self.model().config().name)));
                };
                let mut samplers = Vec::new();
                for image in images {
                    samplers.push(self.sampler(&preprocess, image).await?);
                }
                let [height, width] = samplers.first().map_or([0; 2], |sampler| sampler.size());
                if let Some(other) = samplers.iter().find(|sampler| sampler.size() != [height, width]) {
                    let [other_height, other_width] = other.size();
                    return Err(Error::argument(
                        "images",
                        format!(
                            "expected images that are all resized to {height} x {width} pixels, found one that is resized to {other_height} x {other_width}"
                        ),
                    ));
                }
                let sampled: Vec<_> = images.iter().copied().zip(samplers.iter().map(Arc::as_ref)).collect();
                let shape = [images.len(), preprocess.channels, height, width];
                self.start_from(InputSource::Images(&preprocess, &sampled), &shape, outputs).await
            }
        }
    }

    /// Returns the sampler for this image size, from an LRU cache.
    async fn sampler(&mut self, preprocess: &Preprocess, image: &TextureImage<'_>) -> Result<Arc<Sampler>> {
        let [_, _, width, height] = image.checked_rectangle()?;
        let size = [height as usize, width as usize];
        if let Some(place) = self.kept.samplers.iter().position(|sampler| sampler.image() == size) {
            let sampler = self.kept.samplers.remove(place);
            self.kept.samplers.push(sampler);
        } else {
            let Some(gpu) = self.model().device().gpu() else { return Err(on_the_cpu()) };
            let sampler = Arc::new(Sampler::new(gpu, preprocess, preprocess.sampling(size)?).await?);
            if self.kept.samplers.len() == KEPT_SAMPLERS {
                self.kept.samplers.remove(0);
            }
            self.kept.samplers.push(sampler);
        }
        Ok(self.kept.samplers.last().expect("just pushed").clone())
    }

    async fn start_from(&mut self, source: InputSource<'_>, shape: &[usize], outputs: &[&str]) -> Result<GpuJob> {
        if self.model().device().is_cpu() {
            return Err(on_the_cpu());
        }
        let (size, batch) = (self.lone_size(shape)?, shape[0]);
        let too_many =
            |allowed: usize| Error::Limit { what: "encoding".to_owned(), limit: Limit::Images, needed: batch as u64, allowed: allowed as u64 };
        let largest = largest_pass(self.model().config(), self.model().device(), size)?;
        if batch > largest {
            return Err(too_many(largest));
        }
        let maps: BTreeMap<&str, Map> = outputs.iter().filter_map(|name| Some((*name, self.model().config().map(size, name)?))).collect();
        let plan = self.plan(batch, size, [false; 2], &owned(outputs), &|_, _| ()).await?;
        if plan.request.batch < batch {
            return Err(too_many(plan.request.batch));
        }
        let Executor::Gpu(executor) = &plan.executor else {
            return Err(on_the_cpu());
        };
        let outputs = plan.outputs.iter().map(|output| (output.name.clone(), maps.get(output.name.as_str()).copied())).collect();
        Ok(GpuJob { job: executor.start(&[source]).await?, outputs })
    }
}

/// A forward pass recorded slice by slice.
///
/// ```no_run
/// # fn frames(session: &mut vitraux::Session, input: vitraux::host::GpuInput, device: &wgpu::Device, queue: &wgpu::Queue) -> vitraux::Result<()> {
/// use vitraux::host::Budget;
/// let mut job = session.start(input, &["logits"])?;
/// loop {
///     // A frame.
///     let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
///     let is_whole = job.encode_slice(&mut encoder, Budget::microseconds(2000));
///     queue.submit([encoder.finish()]);
///     if is_whole {
///         break;
///     }
/// }
/// let logits = &job.outputs()["logits"];
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GpuJob {
    job: Job,
    /// Output names, with the map that each one shows, if any.
    outputs: Vec<(String, Option<Map>)>,
}

impl GpuJob {
    /// Records as much as fits in `budget`, but at least one kernel call, copy or image. Returns whether the pass is complete.
    ///
    /// Costs come from the times measured by [`Session::profile_blocking`], or else from a conservative estimate, corrected by the measured times of
    /// earlier slices where the device supports that. The first slices read the inputs. If the commands of a slice are dropped instead of submitted,
    /// the job is invalid and must be dropped. Drop a complete job only after its last commands have been submitted: until then, another pass may use
    /// its buffers.
    pub fn encode_slice(&mut self, encoder: &mut wgpu::CommandEncoder, budget: Budget) -> bool {
        self.job.encode_slice(encoder, budget)
    }

    /// Returns the outputs. They hold the results once the commands of all slices have executed.
    ///
    /// # Panics
    /// If some slices have not been recorded.
    pub fn outputs(&self) -> GpuOutputs {
        self.outputs.iter().zip(self.job.outputs()).map(|((name, map), output)| (name.clone(), output.with_map(*map))).collect()
    }
}

fn on_the_cpu() -> Error {
    Error::argument("device", "expected a model on a GPU, found one on the CPU")
}
