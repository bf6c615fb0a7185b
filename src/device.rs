//! The choice of a device: a GPU of this machine, or the CPU.

use crate::error::{Error, Result};
use crate::gpu::{AdapterSummary, Gpu, adapters};
use crate::record::Limits;
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
    /// The first adapter whose name contains this, in any case.
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
    /// [`Error::Device`] if there is none such, or the driver refuses.
    pub async fn open(choice: &DeviceChoice) -> Result<(Device, String)> {
        if *choice == DeviceChoice::Cpu {
            return Ok((Device::Cpu, "as asked for".to_owned()));
        }
        let mut found = adapters().await;
        let list = || found.iter().map(|(adapter, _)| format!("{}: {adapter}", adapter.index)).collect::<Vec<_>>().join("; ");
        let place = match choice {
            DeviceChoice::Index(index) => found.iter().position(|(adapter, _)| adapter.index == *index),
            DeviceChoice::Name(name) => found.iter().position(|(adapter, _)| adapter.name.to_lowercase().contains(&name.to_lowercase())),
            DeviceChoice::Auto | DeviceChoice::Gpu | DeviceChoice::Cpu => {
                let places = (0..found.len()).filter(|&place| *choice == DeviceChoice::Gpu || preference(&found[place].0) < SOFTWARE);
                places.min_by_key(|&place| preference(&found[place].0))
            }
        };
        match (place, choice) {
            (Some(place), _) => {
                let (summary, adapter) = found.swap_remove(place);
                let reason = if *choice == DeviceChoice::Auto { "a hardware GPU" } else { "as asked for" };
                Ok((Device::Gpu(Arc::new(Gpu::open(summary, &adapter).await?)), reason.to_owned()))
            }
            (None, DeviceChoice::Auto) if found.is_empty() => Ok((Device::Cpu, "no GPU was found".to_owned())),
            (None, DeviceChoice::Auto) => Ok((Device::Cpu, format!("no hardware GPU was found, and software adapters are slower; found {}", list()))),
            (None, _) if found.is_empty() => Err(Error::Device("no GPU was found: no driver for Vulkan, Metal or DX12; use --device cpu".to_owned())),
            (None, _) => Err(Error::Device(format!("no such device; there are: {}, and cpu", list()))),
        }
    }

    /// What it allows.
    pub fn limits(&self) -> Limits {
        match self {
            Device::Cpu => Limits::NONE,
            Device::Gpu(gpu) => gpu.summary().limits,
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

const SOFTWARE: u32 = 4;

/// The lower the better.
fn preference(adapter: &AdapterSummary) -> u32 {
    match adapter.kind {
        "discrete GPU" => 0,
        "integrated GPU" => 1,
        "virtual GPU" => 2,
        "other" => 3,
        _ => SOFTWARE,
    }
}
