//! The command line: one file for each subcommand.

mod classify;
mod devices;
mod forward;
mod hub;
mod inspect;
mod preprocess;
mod tensors;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use vitraux::{Checkpoint, Device, DeviceChoice, Engine};

/// Any error, for one line on standard error.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Vision Transformer inference on any GPU, with kernels written by hand in WGSL.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name what is in pictures
    Classify(classify::Classify),
    /// Run a model on tensors and write its outputs: for people who port and verify models
    Forward(forward::Forward),
    /// Write the pixel values that a model takes for pictures
    Preprocess(preprocess::Preprocess),
    /// List the devices that vitraux can run on
    Devices(devices::Devices),
    /// Describe a model: family, sizes, parameters, arithmetic, memory
    Inspect(inspect::Inspect),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Classify(command) => command.run(),
            Command::Forward(command) => command.run(),
            Command::Preprocess(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Inspect(command) => command.run(),
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Which model.
#[derive(Debug, Args)]
struct ModelArgs {
    /// A folder with config.json and model.safetensors, or owner/name[@revision] of the Hugging Face hub, which is downloaded
    /// once; without it, the built-in model that reads one digit
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
}

impl ModelArgs {
    /// Where the model is, downloaded if need be; nothing for the built-in one.
    fn path(&self) -> vitraux::Result<Option<PathBuf>> {
        self.model.as_deref().map(hub::local).transpose()
    }

    fn open(&self) -> vitraux::Result<Checkpoint> {
        self.path()?.map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)
    }
}

/// Which device.
#[derive(Debug, Args)]
struct DeviceArgs {
    /// auto (a hardware GPU, else the CPU), cpu, gpu (the best adapter, be it software), or an adapter's number or name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

impl DeviceArgs {
    /// Brings a model to the device, and says on standard error which one it is and why.
    fn load(&self, checkpoint: Checkpoint) -> vitraux::Result<Engine> {
        let (device, reason) = pollster::block_on(Device::open(&self.device))?;
        report(&format!("device: {device} ({reason})"));
        pollster::block_on(Engine::load(checkpoint, device))
    }
}

/// A line on standard error; nobody may be listening.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether standard output was closed.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
