//! The choice of a device: a GPU of this machine, or the CPU.

use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::gpu::{AdapterKind, AdapterSummary, Gpu, ShaderChecks, adapters};
#[cfg(not(target_arch = "wasm32"))]
use crate::{
    cpu,
    gpu::{self, WeightBuffers},
    record::{Recording, Timing},
};
use std::str::FromStr;
use std::sync::Arc;

/// Which device to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// A device that can run recordings.
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU executor.
    Cpu,
    /// A GPU.
    Gpu(Arc<Gpu>),
}

impl Device {
    /// Opens a device, and says why it is this one.
    ///
    /// # Errors
    /// [`Error::Device`] if there is none such, or its driver refuses.
    pub async fn open(choice: &DeviceChoice) -> Result<(Device, String)> {
        Device::open_with(choice, ShaderChecks::Off).await
    }

    /// [`Device::open`] with a choice of checks while shaders run.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub async fn open_with(choice: &DeviceChoice, checks: ShaderChecks) -> Result<(Device, String)> {
        if *choice == DeviceChoice::Cpu {
            return Ok((Device::Cpu, "as asked for".to_owned()));
        }
        let found = adapters().await;
        let chosen = found.iter().filter(|(adapter, _)| choice.admits(adapter)).min_by_key(|(adapter, _)| adapter.kind);
        let list = found.iter().map(|(adapter, _)| format!("{}: {adapter}", adapter.index)).collect::<Vec<_>>().join("; ");
        match (chosen, choice) {
            (Some((summary, adapter)), DeviceChoice::Auto) => Ok(match Gpu::open(summary.clone(), adapter, checks).await {
                Ok(gpu) => (Device::Gpu(Arc::new(gpu)), "a hardware GPU".to_owned()),
                Err(error) => (Device::Cpu, format!("the GPU cannot be used: {error}")),
            }),
            (Some((summary, adapter)), _) => {
                Ok((Device::Gpu(Arc::new(Gpu::open(summary.clone(), adapter, checks).await?)), "as asked for".to_owned()))
            }
            (None, DeviceChoice::Auto) if found.is_empty() => Ok((Device::Cpu, "no GPU was found".to_owned())),
            (None, DeviceChoice::Auto) => Ok((Device::Cpu, format!("no hardware GPU was found, and software adapters are slower; found {list}"))),
            (None, _) if found.is_empty() => Err(Error::Device("no GPU was found: no driver for Vulkan, Metal or DX12; use --device cpu".to_owned())),
            (None, _) => Err(Error::Device(format!("no such device; there are: {list}, and cpu"))),
        }
    }

    /// Whether it can tell how long its kernels take.
    pub fn takes_times(&self) -> bool {
        match self {
            Device::Cpu => true,
            Device::Gpu(gpu) => gpu.takes_times(),
        }
    }

    /// Runs a recording without weights and with one output once, and then gives the output, and the times of its dispatches `runs`
    /// times.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot take times, or fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn time_blocking(&self, recording: Recording, inputs: &[&[f32]], runs: usize) -> Result<(Vec<f32>, Vec<Vec<Timing>>)> {
        match self {
            Device::Cpu => {
                let mut plan = cpu::Plan::new(recording, Arc::default());
                let output = plan.run(inputs).remove(0);
                Ok((output, (0..runs).map(|_| plan.profile()).collect()))
            }
            Device::Gpu(gpu) => {
                let compiled = async {
                    let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
                    let plan = gpu::Plan::compile(gpu.clone(), &recording, &none).await?;
                    let output = plan.run(inputs).await?.remove(0);
                    Ok::<_, Error>((plan, output))
                };
                let (plan, output) = pollster::block_on(compiled)?;
                Ok((output, (0..runs).map(|_| plan.profile()).collect::<Result<_>>()?))
            }
        }
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Device::Cpu => Capabilities::CPU,
            Device::Gpu(gpu) => gpu.summary().capabilities,
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Gpu(gpu) => write!(f, "{}", gpu.summary()),
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
