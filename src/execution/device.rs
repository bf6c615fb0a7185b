//! The choice of a device: a GPU of this machine, or the CPU.

use crate::data::capabilities::Capabilities;
use crate::data::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::data::record::{Recording, Timing};
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::cpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::gpu::{self, WeightBuffers};
use crate::execution::gpu::{AdapterKind, AdapterSummary, Gpu, PipelineFolder, ShaderChecks, adapters};
use crate::execution::off_executor::off_executor;
use std::str::FromStr;
use std::sync::Arc;

/// Which device to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// A hardware GPU, else the CPU. A GPU that software imitates is slower than the CPU itself.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, be it software.
    Gpu,
    /// The adapter with this place in the list of [`adapters`].
    Index(usize),
    /// The best adapter whose name contains this, in any case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<DeviceChoice, Self::Err> {
        Ok(match text {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "gpu" => DeviceChoice::Gpu,
            other => other.parse().map_or_else(|_| DeviceChoice::Name(other.to_owned()), DeviceChoice::Index),
        })
    }
}

impl DeviceChoice {
    fn admits(&self, adapter: &AdapterSummary) -> bool {
        match self {
            DeviceChoice::Auto => adapter.kind != AdapterKind::Software,
            DeviceChoice::Cpu => false,
            DeviceChoice::Gpu => true,
            DeviceChoice::Index(index) => adapter.index == *index,
            DeviceChoice::Name(name) => !name.is_empty() && adapter.name.to_lowercase().contains(&name.to_lowercase()),
        }
    }
}

/// A device that models run on: a GPU, or the CPU. Clones are the same device.
#[derive(Clone, Debug)]
pub struct Device {
    gpu: Option<Arc<Gpu>>,
    reason: Arc<str>,
}

/// How a device is opened.
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

impl DeviceBuilder {
    /// Which device to open; by default a hardware GPU, else the CPU.
    pub fn choice(self, choice: DeviceChoice) -> DeviceBuilder {
        DeviceBuilder { choice, ..self }
    }

    /// Whether shaders check indices and loops while they run; by default they do not.
    pub fn shader_checks(self, shader_checks: ShaderChecks) -> DeviceBuilder {
        DeviceBuilder { shader_checks, ..self }
    }

    /// The folder in which compiled pipelines are kept from one start to the next, or none: by default the user's cache folder. They are kept where the
    /// driver hands them out (Vulkan, with [`wgpu::Features::PIPELINE_CACHE`]). Damaged files, and those of another driver, are ignored.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pipeline_cache(self, folder: Option<std::path::PathBuf>) -> DeviceBuilder {
        DeviceBuilder { pipeline_cache: folder.map_or(PipelineFolder::None, PipelineFolder::Folder), ..self }
    }

    /// Opens the device, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is none such, [`Error::Device`] if its driver refuses.
    pub async fn open(self) -> Result<Device> {
        off_executor(async move || self.open_here().await).await
    }

    /// [`DeviceBuilder::open`], blocking.
    ///
    /// # Errors
    /// As [`DeviceBuilder::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(self) -> Result<Device> {
        pollster::block_on(self.open_here())
    }

    /// The device of a host program, which lends it: nothing is submitted or polled but by the calls that say so, and the host's handlers for errors and
    /// for loss stay as they are. Features and limits that it was not opened with ([`required_features`], [`required_limits`]) are done without.
    /// Cooperative matrices are used where the host has unlocked them ([`cooperative_features`]).
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
        let chosen = found.iter().filter(|(adapter, _)| self.choice.admits(adapter)).min_by_key(|(adapter, _)| adapter.kind);
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
            (None, DeviceChoice::Auto) => Ok(Device::of_cpu(&format!("no hardware GPU was found, and software adapters are slower; found {list}"))),
            (None, _) if found.is_empty() => {
                Err(Error::NoDevice("no GPU was found: no driver for Vulkan, Metal or DX12; the CPU can be used".to_owned()))
            }
            (None, _) => Err(Error::NoDevice(format!("no such device; there are: {list}, and cpu"))),
        }
    }
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Device {
        Device::of_cpu("as requested")
    }

    /// How a device is opened, with more choices than [`Device::open`] has.
    pub fn builder() -> DeviceBuilder {
        DeviceBuilder::default()
    }

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is none such, [`Error::Device`] if its driver refuses.
    pub async fn open(choice: DeviceChoice) -> Result<Device> {
        Device::builder().choice(choice).open().await
    }

    /// [`Device::open`], blocking.
    ///
    /// # Errors
    /// As [`Device::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(choice: DeviceChoice) -> Result<Device> {
        Device::builder().choice(choice).open_blocking()
    }

    /// The device of a host program: [`DeviceBuilder::from_wgpu`] with its defaults.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Device {
        Device::builder().from_wgpu(adapter, device, queue)
    }

    fn of_cpu(reason: &str) -> Device {
        Device { gpu: None, reason: reason.into() }
    }

    fn of_gpu(gpu: Gpu, reason: &str) -> Device {
        Device { gpu: Some(Arc::new(gpu)), reason: reason.into() }
    }

    /// The GPU, unless it is the CPU.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.gpu.as_ref()
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.gpu.is_none()
    }

    /// Why it was chosen.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it can time its kernels.
    pub fn takes_times(&self) -> bool {
        self.gpu.as_ref().is_none_or(|gpu| gpu.takes_times())
    }

    /// Runs a recording without weights once, and then gives its output, if it has one, and the times of its dispatches `runs` times.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamps, or fails.
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

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.gpu.as_ref().map_or(Capabilities::CPU, |gpu| gpu.summary().capabilities)
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
        AdapterSummary { index, name: name.to_owned(), backend: "Vulkan".to_owned(), kind, driver: String::new(), capabilities: Capabilities::CPU }
    }

    #[test]
    fn each_choice_admits_what_it_says() {
        let (card, software) = (adapter(0, "NVIDIA H200", AdapterKind::Discrete), adapter(1, "llvmpipe", AdapterKind::Software));
        let admitted = |text: &str| {
            let choice: DeviceChoice = text.parse().expect("any text is a choice");
            [choice.admits(&card), choice.admits(&software)]
        };
        assert_eq!(admitted("auto"), [true, false]);
        assert_eq!(admitted("cpu"), [false, false]);
        assert_eq!(admitted("gpu"), [true, true]);
        assert_eq!(admitted("1"), [false, true]);
        assert_eq!(admitted("nvidia"), [true, false]);
        assert_eq!(admitted("LLVM"), [false, true]);
        assert!(card.kind < software.kind);
    }
}
