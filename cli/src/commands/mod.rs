//! Command line interface, with one module per subcommand.

mod attention;
mod bench;
mod classify;
mod completions;
mod depth;
mod devices;
mod doctor;
mod embed;
mod examples;
mod execution;
mod families;
mod fingerprint;
mod fit;
mod forward;
mod guard;
mod heads;
mod hub;
mod images;
mod inspect;
mod maps;
mod messages;
mod model;
mod models;
mod npy;
mod numbers;
mod outcome;
mod output;
mod preprocess;
pub mod readers;
mod search;
mod segment;
mod serve;
mod settings;
mod shaders;
mod similar;
mod table;
mod tensors;
mod tokenize;
mod tune;

use clap::{Args, Parser, Subcommand, ValueEnum};
use execution::{DeviceArgs, DeviceParser, ExecutionArgs, PrecisionChoice, TuningArgs, load};
use heads::HeadArgs;
pub use messages::{advice, chain, error_mark, is_broken_pipe, report};
use messages::{bar, be_quiet, mebibytes, note, of_file, on_stdout, shown, warn, warn_if_assumed};
use model::ModelArgs;
use outcome::Failed;
pub use outcome::{Interrupted, Logged};
use std::error::Error;
use std::io::Write;
use std::path::Path;

/// Any error; threads may return it.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// Result with any error, reported as one line on standard error.
pub type Result<T> = std::result::Result<T, AnyError>;

/// Vision Transformer inference on any GPU, with hand-written WGSL kernels
#[derive(Debug, Parser)]
#[command(name = "vitraux", version, arg_required_else_help = true, after_help = examples::VITRAUX)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    talk: Talk,
}

/// How much is said on standard error.
#[derive(Debug, Args)]
struct Talk {
    /// Print only results and errors, without the device, notes, warnings and progress
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log what is chosen and compiled; twice (-vv) to include the graphics library's messages
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Talk {
    /// Sets up messages and logs of a command. The server's log ends with what is returned.
    fn obey(&self, command: &Command) -> Result<Option<serve::Log>> {
        be_quiet(self.quiet);
        let filter = match self.verbose {
            0 => "error,vitraux=warn",
            1 => "error,vitraux=debug",
            _ => "debug",
        };
        if let Command::Serve(command) = command {
            return command.log(self.quiet, filter).map(Some);
        }
        let mut logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter));
        if self.verbose == 0 {
            logger.format(|out, record| match (record.target().starts_with("vitraux"), record.level()) {
                (true, log::Level::Warn) => {
                    warn(&record.args().to_string());
                    Ok(())
                }
                (_, level) => writeln!(out, "[{level} {}] {}", record.target(), record.args()),
            });
        }
        logger.init();
        Ok(None)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Classify images
    #[command(after_help = examples::CLASSIFY)]
    Classify(classify::Classify),
    /// Compute feature vectors of images, for search and classifiers
    #[command(after_help = examples::EMBED)]
    Embed(embed::Embed),
    /// Rank images by similarity to one image, or find near-duplicates
    #[command(after_help = examples::SIMILAR)]
    Similar(similar::Similar),
    /// Search images by words, in an index that `similar` has made
    #[command(after_help = examples::SEARCH)]
    Search(search::Search),
    /// Train a classifier on folders of images, one folder per class
    #[command(after_help = examples::FIT)]
    Fit(fit::Fit),
    /// Draw heat maps of where a model looks in images
    #[command(after_help = examples::ATTENTION)]
    Attention(attention::Attention),
    /// Estimate the depth of each pixel of images
    #[command(after_help = examples::DEPTH)]
    Depth(depth::Depth),
    /// Label each pixel of images with a class, and measure the classes' areas
    #[command(after_help = examples::SEGMENT)]
    Segment(segment::Segment),
    /// Run a model on tensors and write its outputs, for porting and verifying models
    #[command(after_help = examples::FORWARD)]
    Forward(forward::Forward),
    /// Preprocess images for a model and write the pixel values
    #[command(after_help = examples::PREPROCESS)]
    Preprocess(preprocess::Preprocess),
    /// Convert texts to the ids that a model's text tower takes
    #[command(after_help = examples::TOKENIZE)]
    Tokenize(tokenize::Tokenize),
    /// Serve models over HTTP: images in, classes or feature vectors out; also the Open Inference Protocol of KServe and Triton
    #[command(after_help = examples::SERVE)]
    Serve(serve::Serve),
    /// List the devices that vitraux can run on
    Devices(devices::Devices),
    /// Recommend models by task and size
    Models(models::Models),
    /// List the supported model families
    Families(families::Families),
    /// Measure how fast a model runs
    Bench(bench::Bench),
    /// Check a device: every kernel and a whole model against the CPU
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::Doctor),
    /// Measure which kernels are fastest for a model on a device, and save the result
    #[command(after_help = examples::TUNE)]
    Tune(tune::Tune),
    /// Describe a model: family, sizes, parameters, arithmetic, memory
    #[command(after_help = examples::INSPECT)]
    Inspect(inspect::Inspect),
    /// Print shell completions: `source <(vitraux completions bash)`
    Completions(completions::Completions),
    /// Generate manual pages
    Man(completions::Man),
}

impl Cli {
    /// Parses the arguments of the process.
    pub fn of_process() -> Cli {
        let arguments = model::with_joined_size(std::env::args_os()).unwrap_or_else(|message| {
            report(&format!("{}: {message}", error_mark()));
            std::process::exit(2);
        });
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| {
            // A new user may give an image without a command.
            if let (clap::error::ErrorKind::InvalidSubcommand, Some(first)) = (error.kind(), arguments.get(1))
                && Path::new(first).exists()
            {
                let first = first.to_string_lossy();
                report(&format!("{}: expected a command, found a file; try `vitraux classify {first}`, or `vitraux --help`", error_mark()));
                std::process::exit(2);
            }
            // Help and the version go to standard output.
            if let Err(unprinted) = error.print().map_err(output::of_stdout)
                && !error.use_stderr()
                && !is_broken_pipe(&unprinted)
            {
                report(&format!("{}: {}", error_mark(), chain(&unprinted)));
                std::process::exit(1);
            }
            std::process::exit(error.exit_code())
        })
    }

    /// Runs the subcommand.
    pub fn run(self) -> Result<()> {
        let _log = self.talk.obey(&self.command)?;
        match self.command {
            Command::Classify(command) => command.run(),
            Command::Attention(command) => command.run(),
            Command::Depth(command) => command.run(),
            Command::Segment(command) => command.run(),
            Command::Embed(command) => command.run(),
            Command::Similar(command) => command.run(),
            Command::Search(command) => command.run(),
            Command::Fit(command) => command.run(),
            Command::Forward(command) => command.run(),
            Command::Preprocess(command) => command.run(),
            Command::Tokenize(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Models(command) => command.run(),
            Command::Families(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Tune(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Plain text
    Text,
    /// JSON
    Json,
}
