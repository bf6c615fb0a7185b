//! Which device, and how a model is run on it.

use super::messages::{note, warn};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use vitraux::low_level::gpu::ShaderChecks;
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Precision, Tuning};

/// Which device.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device options")]
pub struct DeviceArgs {
    /// Device: auto (a hardware GPU, else the CPU), cpu, gpu (the best adapter, including software adapters), cuda:N (by CUDA's number), a PCI bus
    /// ID such as 0000:01:00.0, or the number or name of an adapter from `vitraux devices`
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "VITRAUX_DEVICE", value_parser = DeviceParser, hide_possible_values = true)]
    device: DeviceChoice,
    /// Check every index and limit every loop in shaders (GPU only, slower): for debugging kernels
    #[arg(long)]
    checked: bool,
}

/// Parser that completions know the words of. Any other text is part of an adapter's name.
#[derive(Clone)]
pub struct DeviceParser;

impl clap::builder::TypedValueParser for DeviceParser {
    type Value = DeviceChoice;

    fn parse_ref(&self, _: &clap::Command, _: Option<&clap::Arg>, value: &std::ffi::OsStr) -> std::result::Result<DeviceChoice, clap::Error> {
        let Ok(choice) = value.to_string_lossy().parse();
        Ok(choice)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        Some(Box::new(["auto", "cpu", "gpu"].into_iter().map(clap::builder::PossibleValue::new)))
    }
}

impl DeviceArgs {
    /// Returns whether shaders check indices and loops.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// Opens the device, and prints it, the precision on it and the reason for the choice to standard error.
    pub fn open(&self, precision: PrecisionChoice) -> vitraux::Result<(Device, Precision)> {
        let checks = if self.checked { ShaderChecks::On } else { ShaderChecks::Off };
        let device = Device::builder().choice(self.device.clone()).shader_checks(checks).open_blocking()?;
        let precision = precision.on(&device);
        let in_precision = if precision == Precision::F32 { String::new() } else { format!(", {precision}") };
        note(&format!("device: {device}{in_precision} ({})", device.reason()));
        if self.checked && device.is_cpu() {
            warn("--checked has no effect on the CPU");
        }
        Ok((device, precision))
    }
}

/// Which device, and how a model is run on it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device options")]
pub struct ExecutionArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Precision of the weights; sums are always f32
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = PrecisionChoice::F32)]
    pub precision: PrecisionChoice,
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// Accept results that are NaN or infinite, instead of reporting them as errors
    #[arg(long)]
    allow_nan: bool,
}

/// How kernels are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device options")]
pub struct TuningArgs {
    /// Use the kernel choices in this table from `vitraux tune`, instead of those measured on this device
    #[arg(long, value_name = "FILE", conflicts_with = "no_tune")]
    tuning: Option<PathBuf>,
    /// Choose kernels by built-in rules, without measuring or reading a tuning table
    #[arg(long)]
    no_tune: bool,
}

/// Precision of the weights; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// f16 on GPUs with f16 arithmetic; bf16 on processors that multiply it, f16 on others with VNNI; else f32
    Auto,
    /// 32 bits
    F32,
    /// Weights of dense layers in 16 bits
    F16,
    /// Weights of dense layers and their inputs in bf16, the upper 16 bits of f32
    Bf16,
    /// Weights of the blocks in 8 bits; their inputs are rounded to 8 bits
    Int8,
}

impl PrecisionChoice {
    pub fn on(self, device: &Device) -> Precision {
        match self {
            PrecisionChoice::Auto => Precision::auto(&device.capabilities()),
            PrecisionChoice::F32 => Precision::F32,
            PrecisionChoice::F16 => Precision::F16,
            PrecisionChoice::Bf16 => Precision::Bf16,
            PrecisionChoice::Int8 => Precision::Int8,
        }
    }
}

impl std::fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to_possible_value().expect("none is skipped").get_name())
    }
}

impl ExecutionArgs {
    /// Returns why values cannot be results: one of them is not finite, and nobody allowed that.
    pub fn refusal(&self, name: &str, values: &[f32]) -> Option<String> {
        let value = values.iter().find(|value| !value.is_finite()).filter(|_| !self.allow_nan)?;
        let advice = if self.precision == PrecisionChoice::F32 { "" } else { "try --precision f32, or " };
        Some(format!("{name}: expected finite numbers, found {value}: the model's values overflow; {advice}accept them with --allow-nan"))
    }

    /// Returns whether results that are NaN or infinite are accepted.
    pub fn allows_nan(&self) -> bool {
        self.allow_nan
    }

    /// Loads a model onto the device.
    pub fn load(&self, checkpoint: Checkpoint) -> vitraux::Result<Model> {
        load(checkpoint, &self.device, self.precision, &self.tuning)
    }
}

/// Loads a model onto a device.
pub fn load(checkpoint: Checkpoint, device: &DeviceArgs, precision: PrecisionChoice, tuning: &TuningArgs) -> vitraux::Result<Model> {
    let (device, precision) = device.open(precision)?;
    let tuning = tuning.on(&device)?;
    Model::builder(checkpoint).device(device).precision(precision).tuning(tuning).load_blocking()
}

impl TuningArgs {
    /// Returns the table that was asked for.
    pub fn file(&self) -> Option<&PathBuf> {
        self.tuning.as_ref()
    }

    /// Returns the table for a device.
    pub fn on(&self, device: &Device) -> vitraux::Result<Tuning> {
        match &self.tuning {
            Some(file) => {
                if device.is_cpu() {
                    warn("--tuning has no effect on the CPU");
                }
                Tuning::open(file)
            }
            None if self.no_tune => Ok(Tuning::built_in()),
            None => Ok(Tuning::of_user(device)),
        }
    }
}
