use super::{DeviceArgs, ModelArgs, Result, tensors};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use vitraux::model::output_names;

#[derive(Debug, Args)]
pub struct Forward {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// A safetensors file with `pixel_values` [B, channels, height, width], F32
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Outputs beside tokens, features and logits: embeddings, hidden.I, attn.I, probabilities, or all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tap: Vec<String>,
    /// Element type of the arithmetic
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    F32,
}

impl Forward {
    pub fn run(self) -> Result<()> {
        let Precision::F32 = self.precision;
        tensors::check_output(&self.output)?;
        let checkpoint = self.model.open()?;
        let known = output_names(&checkpoint.config);
        let all = self.tap.iter().any(|tap| tap == "all");
        let standard = |name: &str| ["tokens", "features", "logits"].contains(&name);
        let mut wanted: Vec<&str> = known.iter().map(String::as_str).filter(|name| all || standard(name)).collect();
        let more = self.tap.iter().map(String::as_str).filter(|tap| *tap != "all");
        for tap in more {
            if !wanted.contains(&tap) {
                wanted.push(tap);
            }
        }
        let pixel_values = tensors::read(&self.input, "pixel_values")?;
        let outputs = self.device.load(checkpoint)?.forward_blocking(&pixel_values, &wanted)?;
        tensors::write(&self.output, outputs.iter().map(|(name, tensor)| (name.as_str(), tensor)))
    }
}
