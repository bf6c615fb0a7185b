//! Benchmarks of whole models and of each kernel.

mod accuracy;
mod baseline;
mod kernels;
mod model;
mod percentiles;
mod speed;

pub use baseline::CompareArgs;

use super::output::protect;
use super::table::Table;
use super::{ModelArgs, Result, examples, note};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::Path;
use vitraux::config::{Config, Size};
use vitraux::low_level::checkpoint::{WeightInfo, Weights};
use vitraux::low_level::forward::{Request, Tables, record};
use vitraux::low_level::images_per_pass;
use vitraux::low_level::record::Recording;
use vitraux::{Checkpoint, Device};

#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time forward passes of a model, and the share of each kernel
    #[command(after_help = examples::BENCH_MODEL)]
    Model(model::BenchModel),
    /// Time each kernel of a model's forward pass on its own, in every variant that the device can run
    #[command(after_help = examples::BENCH_KERNELS)]
    Kernels(kernels::BenchKernels),
}

impl Bench {
    pub fn run(self) -> Result<()> {
        match self.what {
            What::Model(model) => model.run(),
            What::Kernels(kernels) => kernels.run(),
        }
    }
}

/// How measurements are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BenchFormat {
    /// Plain text
    Text,
    /// JSON, for --compare
    Json,
    /// Markdown table, with ± for half the 10–90 % range
    #[value(name = "md", alias = "markdown")]
    Markdown,
    /// CSV table with the same columns as the Markdown table
    Csv,
}

impl BenchFormat {
    /// Prints a table in the format, which is not JSON.
    fn print(self, out: &mut impl Write, table: &Table) -> Result<()> {
        let text = match self {
            BenchFormat::Text | BenchFormat::Json => table.text(),
            BenchFormat::Markdown => table.markdown(),
            BenchFormat::Csv => table.csv()?,
        };
        Ok(write!(out, "{text}")?)
    }
}

/// Which model is measured.
#[derive(Debug, Args)]
pub struct BenchedModel {
    /// Model by its timm name, with random weights, such as vit_base_patch16_224
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "image_size", "adapter"])]
    architecture: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Opens a model, or makes one with random weights, and returns it with its image size.
fn opened(architecture: Option<&str>, model: &ModelArgs) -> Result<(Checkpoint, Size)> {
    let checkpoint = match architecture {
        Some(name) => Checkpoint::random(name)?,
        None => model.open()?,
    };
    if checkpoint.config().is_text() {
        return Err(format!("{} takes texts; expected a model of images, or of both, whose image tower is measured", checkpoint.config().name).into());
    }
    let size = model.image_size().map_or(checkpoint.config().native_size(), Size::Image);
    Ok((checkpoint, size))
}

impl BenchedModel {
    /// Checks that an output overwrites no file of the model.
    pub fn protect(&self, output: &Path) -> Result<()> {
        protect(output, &self.model.files())
    }

    /// Returns the model without the values of its weights.
    pub fn outline(&self) -> Result<ModelOutline> {
        let (checkpoint, size) = opened(self.architecture.as_deref(), &self.model)?;
        let config = checkpoint.config().clone();
        let tables = Tables::at(&config, &checkpoint.positions, size)?;
        let Ok(weights) = checkpoint.weights.try_map_all(|weight| Ok::<_, std::convert::Infallible>(weight.info()));
        Ok(ModelOutline { config, weights, tables, size })
    }
}

/// A model without the values of its weights, to record forward passes that are not run.
pub struct ModelOutline {
    config: Config,
    weights: Weights<WeightInfo>,
    tables: Tables,
    size: Size,
}

impl ModelOutline {
    /// Returns the name of the model.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Records the first pass of a batch as a session does: of as many images as the device takes at a time. Returns their number too.
    pub fn record(&self, batch: u32, device: &Device, recording: impl Fn() -> Recording) -> vitraux::Result<(usize, Recording)> {
        let wanted = vec![result(&self.config).to_owned()];
        let batch = images_per_pass(&self.config, device, self.size, batch as usize)?;
        let mut request = Request { batch, size: self.size, masked: false, levels: false, wanted };
        loop {
            match record(&self.config, &self.weights, &self.tables, &request, recording()) {
                Err(vitraux::Error::Limit { .. }) if request.batch > 1 => request.batch = request.batch.div_ceil(2),
                recorded => return Ok((request.batch, recorded?)),
            }
        }
    }
}

/// Tells how many images the passes of a batch have, if it takes more than one.
pub fn note_passes(batch: u32, images: usize) {
    if images < batch as usize {
        note(&format!("a batch of {batch} takes several passes; measured are those of {images} images"));
    }
}

/// Returns the main output of a model: its logits, features or `output`, else its tokens.
fn result(config: &Config) -> &'static str {
    let names = vitraux::low_level::forward::output_names(config);
    ["logits", "predicted_depth", "features", "output"].into_iter().find(|name| names.iter().any(|known| known == name)).unwrap_or("tokens")
}

/// Returns a label without its block: `mlp1` for `block3.mlp1`.
fn without_block(label: &str) -> &str {
    label.strip_prefix("block").and_then(|rest| rest.split_once('.')).map_or(label, |(_, step)| step)
}
