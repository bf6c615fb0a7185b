//! A device: the available adapters, their capabilities, and an open device with its queue.

use super::parts::Parts;
use crate::data::capabilities::{Capabilities, Trust};
use crate::data::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::storage;
use std::sync::{Arc, Mutex, OnceLock};

/// Features used wherever the adapter has them.
const FEATURES: wgpu::Features = wgpu::Features::SUBGROUP.union(wgpu::Features::TIMESTAMP_QUERY).union(wgpu::Features::PIPELINE_CACHE);

/// Features that cooperative-matrix kernels need, in addition to a known subgroup size.
const COOPERATIVE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// Kind of adapter, ordered from best to worst for inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A card with its own memory.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// A virtual GPU: a share of a host's GPU.
    Virtual,
    /// Not reported by the driver.
    Other,
    /// Emulated on the CPU.
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

/// Runtime checks in shaders: buffer and array indices, loop bounds and divisors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShaderChecks {
    /// Only the checks that the driver makes anyway. The kernels are built for this: no index depends on data, loops count up to sizes, and the tests
    /// run each kernel on ragged shapes, with NaN past the end of each buffer.
    #[default]
    Off,
    /// All checks, at a cost in speed. Reveals out-of-bounds accesses of an edited kernel.
    On,
}

/// Location of the pipeline cache that persists between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PipelineFolder {
    /// The user's cache folder.
    #[default]
    OfUser,
    /// This folder.
    Folder(std::path::PathBuf),
    /// No persistent cache.
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

/// Description of an adapter, for choosing among several.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Index in the list of [`adapters`].
    pub index: usize,
    /// Name given by the driver.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12` or `BrowserWebGpu`.
    pub backend: String,
    /// Kind of adapter.
    pub kind: AdapterKind,
    /// Name and version of the driver.
    pub driver: String,
    /// Place on the PCI bus, such as `0000:01:00.0`, if the driver tells (Vulkan).
    pub pci_bus_id: Option<String>,
    /// PCI vendor ID.
    pub(crate) vendor: u32,
    /// Capabilities of the adapter.
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
        AdapterSummary {
            index,
            name: info.name,
            backend: format!("{:?}", info.backend),
            kind,
            driver,
            pci_bus_id: (!info.device_pci_bus_id.is_empty()).then_some(info.device_pci_bus_id),
            vendor: info.vendor,
            capabilities,
        }
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
        bf16: false,
        int16: false,
        cooperative: 0,
        software: kind == AdapterKind::Software,
        large_shaders: kind != AdapterKind::Software,
        scalar_tiles: info.backend == wgpu::Backend::Metal,
        trust: if fixed && info.backend == wgpu::Backend::Vulkan { Trust::Subgroups } else { Trust::Portable },
    }
}

/// Returns the side of the largest square cooperative matrices, f16 with f32 sums, that WGSL can express; 0 if there are none.
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

/// Returns the features that a host should add to its device request so that vitraux runs fast. All of them are optional.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & FEATURES.union(wgpu::Features::SHADER_F16)
}

/// Returns further features for a host that has enabled experimental ones ([`wgpu::ExperimentalFeatures::enabled`], which is unsafe: the host must
/// judge what they promise): cooperative matrices, if our kernels can use those of the adapter.
pub fn cooperative_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let Capabilities { cooperative, subgroup, .. } = AdapterSummary::new(0, adapter).capabilities;
    if cooperative > 0 && subgroup > 0 { COOPERATIVE } else { wgpu::Features::empty() }
}

/// Returns the limits that a host should raise its own to ([`wgpu::Limits::or_better_values_from`]): buffer sizes, workgroup memory and number of
/// workgroups. A device with lower limits runs smaller batches and reads large weights in bands; below those of WebGPU ([`wgpu::Limits::default`]), models
/// may not load.
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

/// Lists all adapters of this machine.
pub async fn adapters() -> Vec<(AdapterSummary, wgpu::Adapter)> {
    let descriptor = wgpu::InstanceDescriptor { flags: wgpu::InstanceFlags::empty(), ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let found = wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all()).await;
    found.into_iter().enumerate().map(|(index, adapter)| (AdapterSummary::new(index, &adapter), adapter)).collect()
}

/// Blocking version of [`adapters`].
#[cfg(not(target_arch = "wasm32"))]
pub fn adapters_blocking() -> Vec<(AdapterSummary, wgpu::Adapter)> {
    pollster::block_on(adapters())
}

/// Callback that receives the number of steps done and the total.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// An open device and its queue.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(super) summary: AdapterSummary,
    pub(super) checks: ShaderChecks,
    /// Whether the device is borrowed from a host, which then submits and polls.
    is_borrowed: bool,
    pub(super) parts: Parts,
    /// Folder of the pipeline cache that persists between runs, if there is one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) pipelines_folder: Option<std::path::PathBuf>,
    /// First error outside any error scope since the last [`Gpu::wait`], which reports it.
    stray_error: Arc<Mutex<Option<String>>>,
    /// Why the device was lost, if it was. Never set on a borrowed device, where only the host is notified.
    lost: Arc<OnceLock<String>>,
}

impl Gpu {
    /// Opens an adapter without probing its subgroups.
    pub(super) async fn open_unprobed(
        summary: AdapterSummary,
        adapter: &wgpu::Adapter,
        checks: ShaderChecks,
        pipelines: &PipelineFolder,
    ) -> Result<Gpu> {
        // A browser caches its pipelines itself.
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
            // SAFETY: cooperative matrices are the only experimental feature requested. wgpu does not check that their loads and stores stay inside
            // buffers; our kernels load and store only in workgroup memory, at offsets that depend on constants.
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
        // wgpu's default handler panics.
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

    /// Wraps a borrowed device; see [`DeviceBuilder::from_wgpu`](crate::execution::device::DeviceBuilder::from_wgpu).
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, checks: ShaderChecks, pipelines: &PipelineFolder) -> Gpu {
        #[cfg(target_arch = "wasm32")]
        let _ = pipelines;
        let mut summary = AdapterSummary::of(0, adapter.get_info(), device.features(), &device.limits());
        // Probing the size of variable subgroups would take a submission, which a borrowed device does not allow.
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

    /// Returns the adapter's description and capabilities.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// Returns whether the device is borrowed. The host then submits and polls, except for calls that say so.
    pub fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    /// Returns whether shaders check indices and loops at run time.
    pub fn is_checked(&self) -> bool {
        self.checks == ShaderChecks::On
    }

    /// Returns wgpu's handle of the device.
    pub fn wgpu_device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Returns [`Error::DeviceLost`] if the device was lost. Set `has_failed` after a failure that the loss may have caused.
    pub(super) fn lost(&self, has_failed: bool) -> Option<Error> {
        if has_failed && !self.is_borrowed {
            // wgpu reports a loss only when polled.
            let _ = self.device.poll(wgpu::PollType::Poll);
        }
        let message = self.lost.get()?.clone();
        Some(Error::DeviceLost { device: self.summary.to_string(), message })
    }

    /// Checks that the device has the limits that WebGPU guarantees for what kernels cannot do without.
    ///
    /// # Errors
    /// [`Error::Device`] if the host opened it with lower ones.
    pub fn check_limits(&self) -> Result<()> {
        let (has, needs) = (self.device.limits(), wgpu::Limits::default());
        let lower = [
            ("max_storage_buffers_per_shader_stage", has.max_storage_buffers_per_shader_stage, needs.max_storage_buffers_per_shader_stage),
            ("max_compute_workgroup_storage_size", has.max_compute_workgroup_storage_size, needs.max_compute_workgroup_storage_size),
            ("max_compute_invocations_per_workgroup", has.max_compute_invocations_per_workgroup, needs.max_compute_invocations_per_workgroup),
            ("max_compute_workgroup_size_x", has.max_compute_workgroup_size_x, needs.max_compute_workgroup_size_x),
        ];
        match lower.into_iter().find(|(_, has, needs)| has < needs) {
            None => Ok(()),
            Some((name, has, needs)) => Err(Error::device(
                &self.summary,
                format!("expected a {name} of at least {needs}, found {has}; open the device with `host::required_limits`"),
            )),
        }
    }

    /// Returns whether the device can time its kernels.
    pub fn takes_times(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Returns the number of buffers on the device and their total bytes. Both are zero unless wgpu is built with its `counters` feature.
    pub fn buffer_counts(&self) -> (isize, isize) {
        let counters = self.device.get_internal_counters().hal;
        (counters.buffers.read(), counters.buffer_memory.read())
    }

    /// Calls `work` in error scopes. Returns the device's error if `work` causes one.
    pub(crate) async fn checked<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        // All are popped before the first is awaited: while it is, another task may push its own, and scopes end in reverse order.
        let [validation, internal, memory] = [validation.pop(), internal.pop(), memory.pop()];
        // Memory that ran out is the cause of other errors: a buffer without memory is invalid wherever it is used.
        let errors = [memory.await, validation.await, internal.await];
        let error = errors.into_iter().flatten().next();
        match (self.lost(error.is_some()), error) {
            (Some(lost), _) => Err(lost),
            (None, None) => Ok(result),
            (None, Some(error)) => Err(objection(&self.summary, what, &error)),
        }
    }

    /// Waits until the device has finished all submitted work. In a browser it returns at once, and the futures of mapped buffers do the waiting.
    pub(crate) fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// Waits as [`Gpu::wait`] does, also in a browser.
    pub(super) async fn finished(&self) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        {
            let (sender, receiver) = futures_channel::oneshot::channel();
            self.queue.on_submitted_work_done(move || {
                // Sending fails if the future was dropped.
                let _ = sender.send(());
            });
            let _ = receiver.await;
        }
        self.wait()
    }

    /// Waits as [`Gpu::wait`] does, but only for one submission and those before it.
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

/// Converts a wgpu error to ours.
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
    gpu.lost(true).unwrap_or_else(|| Error::device(gpu.summary(), one_line(&error.to_string())))
}

pub(super) fn create(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages, mapped_at_creation: bool) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_is_distinguished_from_other_errors() {
        let memory = wgpu::Error::OutOfMemory { source: "no memory".into() };
        let error = objection("a card", "weights", &memory);
        assert!(matches!(&error, Error::OutOfMemory { device, what } if device == "a card" && what == "weights"), "{error}");
        let invalid = wgpu::Error::Validation { source: "invalid".into(), description: "a buffer\n is invalid".to_owned() };
        let error = objection("a card", "weights", &invalid);
        assert!(matches!(&error, Error::Device { device, .. } if device == "a card"), "{error}");
        assert!(error.to_string().starts_with("a card: weights: "), "{error}");
    }
}
