use super::{Format, ModelArgs, Result};
use clap::Args;
use serde_json::json;
use std::io::Write;
use vitraux::config::{Config, Layout, Pooling};
use vitraux::model::record;
use vitraux::record::Limits;

#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// Images of the batch that scratch memory is given for
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// text, or json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Inspect {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.model.open()?;
        let config = &checkpoint.config;
        let parameters = checkpoint.parameters();
        let weight_bytes = parameters * 4;
        let result = if config.classes > 0 { "logits" } else { "features" };
        let recording = record(config, &checkpoint.weights, self.batch as usize, &[result], Limits::CPU)?;
        let scratch_bytes = recording.scratch_bytes();
        let gflop = config.flops() as f64 / 1e9;
        let mut out = std::io::stdout().lock();
        if self.format == Format::Json {
            let value = json!({
                "name": config.name,
                "family": family(config),
                "channels": config.channels,
                "image": config.image,
                "patch": config.patch,
                "tokens": config.tokens(),
                "width": config.width,
                "depth": config.depth,
                "heads": config.heads,
                "head_width": config.head_width(),
                "mlp_width": config.mlp_width,
                "pooling": pooling(config),
                "classes": config.classes,
                "labels": config.labels.len(),
                "parameters": parameters,
                "gflop_per_image": gflop,
                "weight_bytes": weight_bytes,
                "batch": self.batch,
                "scratch_bytes": scratch_bytes,
            });
            writeln!(out, "{value}")?;
            return Ok(());
        }
        let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        let [height, width] = config.image;
        let rows = [
            ("model", format!("{} ({})", config.name, family(config))),
            ("image", format!("{height} x {width} pixels, {} channels", config.channels)),
            (
                "tokens",
                format!(
                    "{} = {} in front + {} x {} patches of {} x {} pixels",
                    config.tokens(),
                    config.prefix_tokens,
                    config.grid()[0],
                    config.grid()[1],
                    config.patch[0],
                    config.patch[1]
                ),
            ),
            (
                "encoder",
                format!(
                    "{} blocks of width {}, {} heads of {}, MLP {}",
                    config.depth,
                    config.width,
                    config.heads,
                    config.head_width(),
                    config.mlp_width
                ),
            ),
            ("result", format!("{}, {} classes, {} labels", pooling(config), config.classes, config.labels.len())),
            ("parameters", parameters.to_string()),
            ("arithmetic", format!("{gflop:.3} GFLOP an image")),
            ("weights", mebibytes(weight_bytes as f64)),
            ("scratch", format!("{} for a batch of {}", mebibytes(scratch_bytes as f64), self.batch)),
        ];
        for (name, value) in rows {
            writeln!(out, "{name:12}{value}")?;
        }
        Ok(())
    }
}

fn family(config: &Config) -> &'static str {
    match config.layout {
        Layout::Timm => "Vision Transformer, timm's layout",
        Layout::Transformers => "Vision Transformer, transformers' layout",
    }
}

fn pooling(config: &Config) -> &'static str {
    match config.pooling {
        Pooling::First => "first token",
        Pooling::MeanFrom(_) => "mean of the tokens",
    }
}
