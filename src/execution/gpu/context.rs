//! A device: which adapters there are, what they allow, and the pipelines compiled so far.

use super::parts::Parts;
use crate::data::capabilities::{Capabilities, Trust};
use crate::data::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::storage;
use std::sync::{Arc, Mutex, OnceLock};

/// What is used where the adapter has it.
const FEATURES: wgpu::Features = wgpu::Features::SUBGROUP.union(wgpu::Features::TIMESTAMP_QUERY).union(wgpu::Features::PIPELINE_CACHE);

/// Features that kernels of cooperative matrices need, beside a known size of subgroups.
const COOPERATIVE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// What an adapter is, the better for inference first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// A share of a host's GPU.
    Virtual,
    /// The driver does not say.
    Other,
    /// The processor does its work.
    Software,
}

impl std::fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Other => "other",
            AdapterKind::Software => "software",
        })
    }
}

/// Whether every index into a buffer or an array is checked while a shader runs, every loop bounded and every divisor looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShaderChecks {
    /// Only where the driver does it anyway. The kernels are built for this: no index depends on data, loops count up to sizes, and the
    /// tests run each of them on ragged shapes, with NaN behind the end of each buffer.
    #[default]
    Off,
    /// Everywhere, which costs time: to find out whether a kernel that was edited reaches outside.
    On,
}

/// Where compiled pipelines are kept from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PipelineFolder {
    /// In the user's cache folder.
    #[default]
    OfUser,
    /// In this folder.
    Folder(std::path::PathBuf),
    /// Nowhere.
    None,
}

#[cfg(not(target_arch = "wasm32"))]
impl PipelineFolder {
    fn path(&self) -> Option<std::path::PathBuf> {
        match self {
            PipelineFolder::OfUser => storage::cache_folder("pipelines"),
            PipelineFolder::Folder(folder) => Some(folder.clone()),
            PipelineFolder::None => None,
        }
    }
}

/// An adapter as a person chooses among several.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// Its place in the list of [`adapters`].
    pub index: usize,
    /// The name that the driver gives.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12` or `BrowserWebGpu`.
    pub backend: String,
    /// What it is.
    pub kind: AdapterKind,
    /// The driver and its version.
    pub driver: String,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl AdapterSummary {
    fn new(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
        let mut summary = AdapterSummary::of(index, adapter.get_info(), adapter.features(), &adapter.limits());
        summary.capabilities.cooperative = cooperative(adapter);
        summary
    }

    fn of(index: usize, info: wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> AdapterSummary {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let capabilities = capabilities(&info, features, limits, kind);
        AdapterSummary { index, name: info.name, backend: format!("{:?}", info.backend), kind, driver, capabilities }
    }
}

impl std::fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

fn capabilities(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits, kind: AdapterKind) -> Capabilities {
    let fixed = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
    Capabilities {
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        workgroups: limits.max_compute_workgroups_per_dimension,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        subgroup: if fixed { info.subgroup_max_size } else { 0 },
        half: features.contains(wgpu::Features::SHADER_F16),
        cooperative: 0,
        software: kind == AdapterKind::Software,
        large_shaders: kind != AdapterKind::Software,
        scalar_tiles: info.backend == wgpu::Backend::Metal,
        trust: if fixed && info.backend == wgpu::Backend::Vulkan { Trust::Subgroups } else { Trust::Portable },
    }
}

/// The side of the largest cooperative matrices of f16 with sums in f32 that WGSL can express; 0 if there are none.
fn cooperative(adapter: &wgpu::Adapter) -> u32 {
    if !adapter.features().contains(COOPERATIVE) {
        return 0;
    }
    let side = |kind: &wgpu::CooperativeMatrixProperties| {
        let is_square = kind.m_size == kind.n_size && kind.m_size == kind.k_size && [8, 16].contains(&kind.m_size);
        let is_mixed = kind.ab_type == wgpu::CooperativeScalarType::F16 && kind.cr_type == wgpu::CooperativeScalarType::F32;
        (is_square && is_mixed).then_some(kind.m_size)
    };
    adapter.cooperative_matrix_properties().iter().filter_map(side).max().unwrap_or(0)
}

/// What a host should add to the features that it asks an adapter for, so that vitraux can be fast on its device. All of it is optional.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & FEATURES.union(wgpu::Features::SHADER_F16)
}

/// What a host adds beside, if it has unlocked experimental features ([`wgpu::ExperimentalFeatures::enabled`], which is unsafe: what they promise is
/// the host's to judge): cooperative matrices, where our kernels can use those of the adapter.
pub fn cooperative_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let Capabilities { cooperative, subgroup, .. } = AdapterSummary::new(0, adapter).capabilities;
    if cooperative > 0 && subgroup > 0 { COOPERATIVE } else { wgpu::Features::empty() }
}

/// What a host should raise its limits to ([`wgpu::Limits::or_better_values_from`]): the sizes of buffers, and the memory and the number of
/// workgroups. A device with less runs smaller batches, and reads large weights in bands.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let all = adapter.limits();
    wgpu::Limits {
        max_storage_buffer_binding_size: all.max_storage_buffer_binding_size,
        max_buffer_size: all.max_buffer_size,
        max_compute_workgroup_storage_size: all.max_compute_workgroup_storage_size,
        max_compute_workgroups_per_dimension: all.max_compute_workgroups_per_dimension,
        ..wgpu::Limits::default().or_worse_values_from(&all)
    }
}

/// All adapters of this machine that can compute.
pub async fn adapters() -> Vec<(AdapterSummary, wgpu::Adapter)> {
    let descriptor = wgpu::InstanceDescriptor { flags: wgpu::InstanceFlags::empty(), ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let found = wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all()).await;
    found.into_iter().enumerate().map(|(index, adapter)| (AdapterSummary::new(index, &adapter), adapter)).collect()
}

/// [`adapters`], blocking.
#[cfg(not(target_arch = "wasm32"))]
pub fn adapters_blocking() -> Vec<(AdapterSummary, wgpu::Adapter)> {
    pollster::block_on(adapters())
}

/// Receives how many steps are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// An open device with its queue.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(super) summary: AdapterSummary,
    pub(super) checks: ShaderChecks,
    /// Whether a host lends the device: then it is the host who submits and polls.
    is_borrowed: bool,
    pub(super) parts: Parts,
    /// Where compiled pipelines are kept from one start to the next.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) pipelines_folder: Option<std::path::PathBuf>,
    /// The first error that no call could report, since the last one that could.
    stray_error: Arc<Mutex<Option<String>>>,
    /// Why the device was lost, if it was. Of a borrowed device only the host hears.
    lost: Arc<OnceLock<String>>,
}

impl Gpu {
    /// Opens an adapter, without a look at its subgroups.
    pub(super) async fn open_unprobed(
        summary: AdapterSummary,
        adapter: &wgpu::Adapter,
        checks: ShaderChecks,
        pipelines: &PipelineFolder,
    ) -> Result<Gpu> {
        // A browser keeps its pipelines itself.
        #[cfg(target_arch = "wasm32")]
        let _ = pipelines;
        let capabilities = summary.capabilities;
        let mut features = adapter.features() & FEATURES;
        if capabilities.half {
            features |= wgpu::Features::SHADER_F16;
        }
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if capabilities.cooperative > 0 {
            features |= COOPERATIVE;
            // SAFETY: of the experimental features only cooperative matrices are asked for. wgpu does not check that their loads and
            // stores stay inside buffers; our kernels do both in workgroup memory only, at places that depend on constants.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("vitraux"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features,
            // Blocks as small as the buffers: weights are allocated once and never moved.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| Error::device(&summary, error))?;
        let stray_error = Arc::new(Mutex::new(None));
        let stray = stray_error.clone();
        // wgpu's own handler panics.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            stray.lock().expect("no panic while it is held").get_or_insert(error.to_string());
        }));
        let lost = Arc::new(OnceLock::new());
        let heard = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = heard.set(one_line(&format!("{reason:?}: {message}")));
        });
        Ok(Gpu {
            device,
            queue,
            lost,
            summary,
            checks,
            is_borrowed: false,
            parts: Parts::default(),
            #[cfg(not(target_arch = "wasm32"))]
            pipelines_folder: pipelines.path(),
            stray_error,
        })
    }

    /// A host's device; see [`DeviceBuilder::from_wgpu`](crate::execution::device::DeviceBuilder::from_wgpu).
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, checks: ShaderChecks, pipelines: &PipelineFolder) -> Gpu {
        #[cfg(target_arch = "wasm32")]
        let _ = pipelines;
        let mut summary = AdapterSummary::of(0, adapter.get_info(), device.features(), &device.limits());
        // Without a submission of its own nothing is found out about subgroups of several sizes.
        if device.features().contains(COOPERATIVE) && summary.capabilities.subgroup > 0 {
            summary.capabilities.cooperative = cooperative(adapter);
        }
        Gpu {
            device,
            queue,
            summary,
            checks,
            is_borrowed: true,
            parts: Parts::default(),
            #[cfg(not(target_arch = "wasm32"))]
            pipelines_folder: pipelines.path(),
            stray_error: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// Which adapter it is, and what it can do.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// Whether a host lends the device: then it is the host who submits and polls, but for calls that say so.
    pub fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    /// wgpu's handle of the device.
    pub fn wgpu_device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The error that says so, if the device was lost; `has_failed` says that it may have been just now.
    pub(super) fn lost(&self, has_failed: bool) -> Option<Error> {
        if has_failed && !self.is_borrowed {
            // wgpu tells of a loss when it is polled.
            let _ = self.device.poll(wgpu::PollType::Poll);
        }
        let message = self.lost.get()?.clone();
        Some(Error::DeviceLost { device: self.summary.to_string(), message })
    }

    /// Whether it can time its kernels.
    pub fn takes_times(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// How many buffers the device has and how many bytes they take; zeros unless wgpu is built with its
    /// `counters` feature.
    pub fn buffer_counts(&self) -> (isize, isize) {
        let counters = self.device.get_internal_counters().hal;
        (counters.buffers.read(), counters.buffer_memory.read())
    }

    /// Calls `work`; if the device objects to anything in it, that is the result.
    pub(crate) async fn checked<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let errors = [validation.pop().await, internal.pop().await, memory.pop().await];
        let error = errors.into_iter().flatten().next();
        match (self.lost(error.is_some()), error) {
            (Some(lost), _) => Err(lost),
            (None, None) => Ok(result),
            (None, Some(error)) => Err(objection(&self.summary, what, &error)),
        }
    }

    /// Waits until the device has done what was submitted. In a browser this returns at once, and
    /// the futures of mapped buffers wait.
    pub(crate) fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// [`Gpu::wait`] for one submission and those before it.
    pub(super) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        let stray = self.stray_error.lock().expect("no panic while it is held").take();
        match (self.lost(polled.is_err()), polled, stray) {
            (Some(lost), ..) => Err(lost),
            (None, Err(error), _) => Err(Error::device(&self.summary, error)),
            (None, Ok(_), Some(error)) => Err(Error::device(&self.summary, one_line(&error))),
            (None, Ok(_), None) => Ok(()),
        }
    }
}

/// The error for what a device objects to.
fn objection(device: impl std::fmt::Display, what: &str, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { device: device.to_string(), what: what.to_owned() },
        _ => Error::device(device, format!("{what}: {}", one_line(&error.to_string()))),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn failed(gpu: &Gpu, error: impl std::fmt::Display) -> Error {
    gpu.lost(true).unwrap_or_else(|| Error::device(gpu.summary(), error))
}

pub(super) fn create(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages, mapped_at_creation: bool) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_is_told_from_other_objections() {
        let memory = wgpu::Error::OutOfMemory { source: "no memory".into() };
        let error = objection("a card", "weights", &memory);
        assert!(matches!(&error, Error::OutOfMemory { device, what } if device == "a card" && what == "weights"), "{error}");
        let invalid = wgpu::Error::Validation { source: "invalid".into(), description: "a buffer\n is invalid".to_owned() };
        let error = objection("a card", "weights", &invalid);
        assert!(matches!(&error, Error::Device { device, .. } if device == "a card"), "{error}");
        assert!(error.to_string().starts_with("a card: weights: "), "{error}");
    }
}
