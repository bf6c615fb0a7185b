//! Choice of a device: a GPU of this machine, or the CPU.

use crate::data::capabilities::Capabilities;
use crate::data::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::data::record::{Recording, Timing};
use crate::execution::cpu;
use crate::execution::cuda::Cuda;
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::gpu::{self, WeightBuffers};
use crate::execution::gpu::{AdapterKind, AdapterSummary, Gpu, PipelineFolder, ShaderChecks, adapters};
use crate::execution::threads::off_executor;
use std::str::FromStr;
use std::sync::Arc;

/// Device to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, else the CPU. A software GPU is slower than the CPU itself. An NVIDIA GPU that `CUDA_VISIBLE_DEVICES` hides is not taken.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, even a software one; `CUDA_VISIBLE_DEVICES` is followed.
    Gpu,
    /// The NVIDIA GPU with this number among those of `CUDA_VISIBLE_DEVICES`, or without that variable among all in the order of the PCI bus: `cuda:0`.
    Cuda(usize),
    /// The adapter at this place on the PCI bus, such as `0000:01:00.0`.
    Pci(String),
    /// The adapter at this index in the list of [`adapters`].
    Index(usize),
    /// The best adapter whose name contains this text, ignoring case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<DeviceChoice, Self::Err> {
        Ok(match text.to_lowercase().as_str() {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "gpu" => DeviceChoice::Gpu,
            "cuda" => DeviceChoice::Cuda(0),
            bus if is_pci_bus_id(bus) => DeviceChoice::Pci(bus.to_owned()),
            lower => match (lower.strip_prefix("cuda:").map(str::parse), text.parse()) {
                (Some(Ok(number)), _) => DeviceChoice::Cuda(number),
                (_, Ok(index)) => DeviceChoice::Index(index),
                (_, Err(_)) => DeviceChoice::Name(text.to_owned()),
            },
        })
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Gpu => f.write_str("gpu"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceChoice::Pci(bus) => f.write_str(bus),
            DeviceChoice::Index(index) => write!(f, "{index}"),
            DeviceChoice::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl DeviceChoice {
    fn admits(&self, adapter: &AdapterSummary, cuda: &Cuda) -> bool {
        match self {
            DeviceChoice::Auto => adapter.kind != AdapterKind::Software && !cuda.hides(adapter),
            DeviceChoice::Cpu => false,
            DeviceChoice::Gpu => !cuda.hides(adapter),
            DeviceChoice::Cuda(number) => cuda.is(adapter, *number),
            DeviceChoice::Pci(bus) => adapter.pci_bus_id.as_ref().is_some_and(|of_adapter| of_adapter.to_lowercase() == bus.to_lowercase()),
            DeviceChoice::Index(index) => adapter.index == *index,
            DeviceChoice::Name(name) => !name.is_empty() && adapter.name.to_lowercase().contains(&name.to_lowercase()),
        }
    }
}

/// Returns whether a text is a place on the PCI bus: domain, bus, device and function, in hexadecimal digits.
fn is_pci_bus_id(text: &str) -> bool {
    let is_hexadecimal = |text: &str, digits: usize| text.len() == digits && text.chars().all(|digit| digit.is_ascii_hexdigit());
    match text.split([':', '.']).collect::<Vec<_>>()[..] {
        [domain, bus, device, function] => {
            text.contains('.') && is_hexadecimal(domain, 4) && is_hexadecimal(bus, 2) && is_hexadecimal(device, 2) && is_hexadecimal(function, 1)
        }
        _ => false,
    }
}

/// A device that runs models: a GPU or the CPU. Clones refer to the same device.
#[derive(Clone, Debug)]
pub struct Device {
    gpu: Option<Arc<Gpu>>,
    reason: Arc<str>,
}

/// Options for opening a device.
///
/// ```
/// # fn main() -> vitraux::Result<()> {
/// use vitraux::{Device, DeviceChoice};
///
/// let device = Device::builder().choice(DeviceChoice::Cpu).open_blocking()?;
/// println!("{device}: {}", device.reason());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is opened before `open`, `open_blocking` or `from_wgpu`"]
pub struct DeviceBuilder {
    choice: DeviceChoice,
    shader_checks: ShaderChecks,
    pipeline_cache: PipelineFolder,
}

/// Environment variables by which Vulkan's loader selects drivers.
const DRIVER_VARIABLES: [&str; 3] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_DISABLE"];

impl DeviceBuilder {
    /// Sets the device to open. The default is a hardware GPU, else the CPU.
    pub fn choice(self, choice: DeviceChoice) -> DeviceBuilder {
        DeviceBuilder { choice, ..self }
    }

    /// Sets whether shaders check indices and loops at run time. By default they do not.
    pub fn shader_checks(self, shader_checks: ShaderChecks) -> DeviceBuilder {
        DeviceBuilder { shader_checks, ..self }
    }

    /// Sets the folder that keeps compiled pipelines between runs; `None` keeps none. The default is the user's cache folder. Pipelines are kept only
    /// if the driver exposes them (Vulkan, with [`wgpu::Features::PIPELINE_CACHE`]). Files that are damaged or from another driver are ignored.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pipeline_cache(self, folder: Option<std::path::PathBuf>) -> DeviceBuilder {
        DeviceBuilder { pipeline_cache: folder.map_or(PipelineFolder::None, PipelineFolder::Folder), ..self }
    }

    /// Opens the device on a separate thread; on wasm32, which has none, between callbacks of the browser.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if no device matches, [`Error::Device`] if its driver refuses.
    pub async fn open(self) -> Result<Device> {
        off_executor(async move || self.open_here().await).await
    }

    /// Blocking version of [`DeviceBuilder::open`].
    ///
    /// # Errors
    /// As [`DeviceBuilder::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(self) -> Result<Device> {
        pollster::block_on(self.open_here())
    }

    /// Wraps a device borrowed from a host program, whose limits must be at least those of WebGPU ([`wgpu::Limits::default`]). Only calls that say so
    /// submit or poll, and the host's handlers for errors and device loss stay in place. Features and limits that the device was opened without
    /// ([`required_features`], [`required_limits`]) are not used. Cooperative matrices are used if the host enabled them ([`cooperative_features`]).
    ///
    /// [`required_features`]: crate::execution::gpu::required_features
    /// [`required_limits`]: crate::execution::gpu::required_limits
    /// [`cooperative_features`]: crate::execution::gpu::cooperative_features
    pub fn from_wgpu(self, adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Device {
        Device::of_gpu(Gpu::from_wgpu(adapter, device, queue, self.shader_checks, &self.pipeline_cache), "lent by the host")
    }

    pub(crate) async fn open_here(self) -> Result<Device> {
        if self.choice == DeviceChoice::Cpu {
            return Ok(Device::of_cpu("as requested"));
        }
        let found = adapters().await;
        let cuda = Cuda::new(found.iter().map(|(adapter, _)| adapter), std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref());
        let chosen = found.iter().filter(|(adapter, _)| self.choice.admits(adapter, &cuda)).min_by_key(|(adapter, _)| adapter.kind);
        let list = found.iter().map(|(adapter, _)| format!("{}: {adapter}", adapter.index)).collect::<Vec<_>>().join("; ");
        let open = async |(summary, adapter): &(AdapterSummary, wgpu::Adapter)| {
            Gpu::open(summary.clone(), adapter, self.shader_checks, &self.pipeline_cache).await
        };
        match (chosen, &self.choice) {
            (Some(chosen), DeviceChoice::Auto) => Ok(match open(chosen).await {
                Ok(gpu) => Device::of_gpu(gpu, "a hardware GPU"),
                Err(error) => Device::of_cpu(&format!("the GPU cannot be used: {error}")),
            }),
            (Some(chosen), _) => Ok(Device::of_gpu(open(chosen).await?, "as requested")),
            (None, DeviceChoice::Auto) if found.is_empty() => Ok(Device::of_cpu("no GPU was found")),
            (None, DeviceChoice::Auto) => Ok(Device::of_cpu("no hardware GPU; the software adapter is slower")),
            (None, _) if found.is_empty() => {
                let chosen = DRIVER_VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some()).collect::<Vec<_>>().join(" and ");
                let of_driver = if chosen.is_empty() { String::new() } else { format!(" ({chosen} selects the drivers)") };
                Err(Error::NoDevice(format!("no GPU was found: no driver for Vulkan, Metal or DX12{of_driver}; install one, or use the CPU")))
            }
            (None, _) => Err(Error::NoDevice(format!("no device {}; available: {list}; or cpu", self.choice))),
        }
    }
}

impl Device {
    /// Returns the CPU device.
    pub fn cpu() -> Device {
        Device::of_cpu("as requested")
    }

    /// Returns a builder with more options than [`Device::open`].
    pub fn builder() -> DeviceBuilder {
        DeviceBuilder::default()
    }

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if no device matches, [`Error::Device`] if its driver refuses.
    pub async fn open(choice: DeviceChoice) -> Result<Device> {
        Device::builder().choice(choice).open().await
    }

    /// Blocking version of [`Device::open`].
    ///
    /// # Errors
    /// As [`Device::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(choice: DeviceChoice) -> Result<Device> {
        Device::builder().choice(choice).open_blocking()
    }

    /// Wraps a device borrowed from a host program: [`DeviceBuilder::from_wgpu`] with default options.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Device {
        Device::builder().from_wgpu(adapter, device, queue)
    }

    fn of_cpu(reason: &str) -> Device {
        Device { gpu: None, reason: reason.into() }
    }

    fn of_gpu(gpu: Gpu, reason: &str) -> Device {
        Device { gpu: Some(Arc::new(gpu)), reason: reason.into() }
    }

    /// Returns the GPU, or `None` for the CPU.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.gpu.as_ref()
    }

    /// Returns wgpu's handles, or `None` for the CPU: for textures and buffers of models on a device that vitraux opened.
    pub fn wgpu(&self) -> Option<(&wgpu::Device, &wgpu::Queue)> {
        self.gpu.as_ref().map(|gpu| (&gpu.device, &gpu.queue))
    }

    /// Returns whether this is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.gpu.is_none()
    }

    /// Returns why this device was chosen.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns whether the device can time its kernels.
    pub fn takes_times(&self) -> bool {
        self.gpu.as_ref().is_none_or(|gpu| gpu.takes_times())
    }

    /// Runs a recording without weights once, then profiles it `runs` times. Returns its output (empty if it has none) and the dispatch times of each
    /// profiled run.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamp queries, or fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn time_blocking(&self, recording: Recording, inputs: &[&[f32]], runs: usize) -> Result<(Vec<f32>, Vec<Vec<Timing>>)> {
        let Some(gpu) = &self.gpu else {
            let mut plan = cpu::Plan::new(recording, Arc::default());
            let output = plan.run(inputs).pop().unwrap_or_default();
            return Ok((output, (0..runs).map(|_| plan.profile()).collect()));
        };
        let compiled = async {
            let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
            let plan = gpu::Plan::compile(gpu.clone(), &recording, &none, &|_, _| ()).await?;
            let output = plan.run(inputs).await?.pop().unwrap_or_default();
            Ok::<_, Error>((plan, output))
        };
        let (plan, output) = pollster::block_on(compiled)?;
        if runs > 0 && !gpu.summary().capabilities.software {
            plan.warm()?;
        }
        Ok((output, (0..runs).map(|_| plan.profile()).collect::<Result<_>>()?))
    }

    /// Returns the capabilities of the device.
    pub fn capabilities(&self) -> Capabilities {
        let of_cpu = Capabilities { bf16: cpu::matmul_bf16::is_native(), int16: cpu::matmul_int16::is_native(), ..Capabilities::CPU };
        self.gpu.as_ref().map_or(of_cpu, |gpu| gpu.summary().capabilities)
    }
}

impl From<Arc<Gpu>> for Device {
    fn from(gpu: Arc<Gpu>) -> Device {
        Device { gpu: Some(gpu), reason: "as requested".into() }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.gpu {
            None => write!(f, "cpu"),
            Some(gpu) => write!(f, "{}", gpu.summary()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: AdapterKind) -> AdapterSummary {
        AdapterSummary {
            index,
            name: name.to_owned(),
            backend: "Vulkan".to_owned(),
            kind,
            driver: String::new(),
            pci_bus_id: (kind == AdapterKind::Discrete).then(|| "0000:0A:00.0".to_owned()),
            vendor: if kind == AdapterKind::Discrete { 0x10de } else { 0 },
            capabilities: Capabilities::CPU,
        }
    }

    #[test]
    fn each_device_choice_admits_only_matching_adapters() {
        let (card, software) = (adapter(0, "NVIDIA H200", AdapterKind::Discrete), adapter(1, "llvmpipe", AdapterKind::Software));
        let admitted_with = |text: &str, variable: Option<&str>| {
            let choice: DeviceChoice = text.parse().expect("any text is a choice");
            let cuda = Cuda::new([&card, &software], variable);
            [choice.admits(&card, &cuda), choice.admits(&software, &cuda)]
        };
        let admitted = |text: &str| admitted_with(text, None);
        assert_eq!(admitted("auto"), [true, false]);
        assert_eq!(admitted("cpu"), [false, false]);
        assert_eq!(admitted("gpu"), [true, true]);
        assert_eq!(admitted("1"), [false, true]);
        assert_eq!(admitted("nvidia"), [true, false]);
        assert_eq!(admitted("LLVM"), [false, true]);
        assert_eq!([admitted("cuda"), admitted("CUDA:0"), admitted("0000:0a:00.0")], [[true, false]; 3]);
        assert_eq!([admitted("cuda:1"), admitted("0000:0b:00.0"), admitted("0000:0a:00")], [[false; 2]; 3]);
        assert_eq!([admitted_with("auto", Some("")), admitted_with("gpu", Some(""))], [[false, false], [false, true]]);
        assert_eq!(admitted_with("nvidia", Some("")), [true, false], "a device that is named is not hidden");
        assert!(card.kind < software.kind);
    }
}
