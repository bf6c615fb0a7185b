//! Command line interface, with one module per subcommand.

mod attention;
mod bench;
mod classify;
mod completions;
mod devices;
mod doctor;
mod embed;
mod examples;
mod families;
mod fingerprint;
mod fit;
mod forward;
mod hub;
mod images;
mod inspect;
mod model;
mod models;
mod numbers;
mod output;
mod preprocess;
mod settings;
mod shaders;
mod similar;
mod table;
mod tensors;
mod tune;

use anstyle::{AnsiColor, Style};
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use model::ModelArgs;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use vitraux::Precision;
use vitraux::Tuning;
use vitraux::low_level::gpu::ShaderChecks;
use vitraux::{Checkpoint, Device, DeviceChoice, Head, Model};

/// Result with any error, reported as one line on standard error.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

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

/// Set by `--quiet`: only errors are printed.
static QUIET: AtomicBool = AtomicBool::new(false);

impl Talk {
    fn obey(&self) {
        QUIET.store(self.quiet, Ordering::Relaxed);
        let filter = match self.verbose {
            0 => "error",
            1 => "error,vitraux=debug",
            _ => "debug",
        };
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
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
    /// Train a classifier on folders of images, one folder per class
    #[command(after_help = examples::FIT)]
    Fit(fit::Fit),
    /// Draw heat maps of where a model looks in images
    #[command(after_help = examples::ATTENTION)]
    Attention(attention::Attention),
    /// Run a model on tensors and write its outputs, for porting and verifying models
    #[command(after_help = examples::FORWARD)]
    Forward(forward::Forward),
    /// Preprocess images for a model and write the pixel values
    #[command(after_help = examples::PREPROCESS)]
    Preprocess(preprocess::Preprocess),
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
        let arguments = model::with_joined_size(std::env::args_os());
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| {
            // A new user may give an image without a command.
            if let (clap::error::ErrorKind::InvalidSubcommand, Some(first)) = (error.kind(), arguments.get(1))
                && Path::new(first).exists()
            {
                let first = first.to_string_lossy();
                report(&format!("{}: expected a command, found a file; try `vitraux classify {first}`, or `vitraux --help`", error_mark()));
                std::process::exit(2);
            }
            error.exit()
        })
    }

    /// Runs the subcommand.
    pub fn run(self) -> Result<()> {
        self.talk.obey();
        match self.command {
            Command::Classify(command) => command.run(),
            Command::Attention(command) => command.run(),
            Command::Embed(command) => command.run(),
            Command::Similar(command) => command.run(),
            Command::Fit(command) => command.run(),
            Command::Forward(command) => command.run(),
            Command::Preprocess(command) => command.run(),
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

/// Which classifiers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
struct HeadArgs {
    /// Replace the classifier with one from a safetensors file with `weight` and `bias`, or drop it with `none`; NAME=FILE adds a
    /// classifier to the existing ones; may be repeated
    #[arg(long, value_name = "none|FILE|NAME=FILE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    head: Vec<String>,
}

impl HeadArgs {
    /// Returns the files of the classifiers.
    fn files(&self) -> Vec<PathBuf> {
        self.head.iter().flat_map(|head| [Some(head.as_str()), head.split_once('=').map(|(_, file)| file)]).flatten().map(PathBuf::from).collect()
    }

    fn apply(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        // A file name may also contain a =.
        let is_named = |head: &&String| head.contains('=') && !std::path::Path::new(head).exists();
        // Dropping or replacing the classifier comes first, whatever the order of the arguments.
        let (added, own): (Vec<&String>, Vec<&String>) = self.head.iter().partition(is_named);
        checkpoint = match own.as_slice() {
            [] => checkpoint,
            [head] if *head == "none" => checkpoint.without_heads(),
            [file] => checkpoint.with_head("", Head::open(file)?)?,
            [first, second, ..] => {
                return Err(
                    format!("--head {first} and --head {second}: only one can replace the model's own classifier; add others as NAME=FILE").into()
                );
            }
        };
        for head in added {
            let (name, file) = head.split_once('=').expect("it has one");
            if name.is_empty() || file.is_empty() {
                return Err(format!("--head {head:?}: expected NAME=FILE").into());
            }
            checkpoint = checkpoint.with_head(name, Head::open(file)?)?;
        }
        Ok(checkpoint)
    }
}

/// Which device.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device options")]
struct DeviceArgs {
    /// Device: auto (a hardware GPU, else the CPU), cpu, gpu (the best adapter, including software adapters), or the number or name of an
    /// adapter from `vitraux devices`
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "VITRAUX_DEVICE", value_parser = DeviceParser, hide_possible_values = true)]
    device: DeviceChoice,
    /// Check every index and limit every loop in shaders (GPU only, slower): for debugging kernels
    #[arg(long)]
    checked: bool,
}

/// Parser that completions know the words of. Any other text is part of an adapter's name.
#[derive(Clone)]
struct DeviceParser;

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
    /// Opens the device, and prints it, the precision on it and the reason for the choice to standard error.
    fn open(&self, precision: PrecisionChoice) -> vitraux::Result<(Device, Precision)> {
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
struct ExecutionArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Precision of the weights; sums are always f32
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = PrecisionChoice::F32)]
    precision: PrecisionChoice,
    #[command(flatten)]
    tuning: TuningArgs,
    /// Accept results that are NaN or infinite, instead of reporting them as errors
    #[arg(long)]
    allow_nan: bool,
}

/// How kernels are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device options")]
struct TuningArgs {
    /// Use the kernel choices in this table from `vitraux tune`, instead of those measured on this device
    #[arg(long, value_name = "FILE", conflicts_with = "no_tune")]
    tuning: Option<PathBuf>,
    /// Choose kernels by built-in rules, without measuring or reading a tuning table
    #[arg(long)]
    no_tune: bool,
}

/// Precision of the weights; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionChoice {
    /// f16 on GPUs with f16 arithmetic, else f32
    Auto,
    /// 32 bits
    F32,
    /// Weights of dense layers in 16 bits
    F16,
    /// Weights of the blocks in 8 bits; their inputs are rounded to 8 bits
    Int8,
}

impl PrecisionChoice {
    fn on(self, device: &Device) -> Precision {
        match self {
            PrecisionChoice::Auto => Precision::auto(&device.capabilities()),
            PrecisionChoice::F32 => Precision::F32,
            PrecisionChoice::F16 => Precision::F16,
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
    fn refusal(&self, name: &str, values: &[f32]) -> Option<String> {
        let value = values.iter().find(|value| !value.is_finite()).filter(|_| !self.allow_nan)?;
        let advice = if self.precision == PrecisionChoice::F32 { "" } else { "try --precision f32, or " };
        Some(format!("{name}: expected finite numbers, found {value}: the model's values overflow; {advice}accept them with --allow-nan"))
    }

    /// Loads a model onto the device.
    fn load(&self, checkpoint: Checkpoint) -> vitraux::Result<Model> {
        load(checkpoint, &self.device, self.precision, &self.tuning)
    }
}

/// Loads a model onto a device.
fn load(checkpoint: Checkpoint, device: &DeviceArgs, precision: PrecisionChoice, tuning: &TuningArgs) -> vitraux::Result<Model> {
    let (device, precision) = device.open(precision)?;
    let tuning = tuning.on(&device)?;
    Model::builder(checkpoint).device(device).precision(precision).tuning(tuning).load_blocking()
}

impl TuningArgs {
    /// Returns the table that was asked for.
    fn file(&self) -> Option<&PathBuf> {
        self.tuning.as_ref()
    }

    /// Returns the table for a device.
    fn on(&self, device: &Device) -> vitraux::Result<Tuning> {
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

/// Warns on standard error if the preprocessing is an assumption.
fn warn_if_assumed(preprocess: Option<&vitraux::preprocess::Preprocess>) {
    if preprocess.is_some_and(|preprocess| preprocess.assumed) {
        warn("the model has no preprocessor_config.json; using transformers' default preprocessing for this type of model");
    }
}

/// Error of a run in which some images failed. The others are done.
#[derive(Debug)]
pub struct Failed {
    count: usize,
    of: usize,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} images failed", self.count, self.of)
    }
}

impl Error for Failed {}

/// Error of a run that was stopped by an interrupt.
#[derive(Debug)]
pub struct Interrupted {
    done: usize,
    of: usize,
}

impl Interrupted {
    /// Exit code by which shells recognise an interrupt: 128 plus the signal number.
    pub const CODE: u8 = 130;
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted after {} of {} images; the output so far is intact", self.done, self.of)
    }
}

impl Error for Interrupted {}

/// Prints a line to standard error, except with `--quiet`.
fn note(line: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        report(&shown(line));
    }
}

/// Prints a warning to standard error, except with `--quiet`.
fn warn(text: &str) {
    const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
    if !QUIET.load(Ordering::Relaxed) {
        report(&format!("{YELLOW}warning{YELLOW:#}: {}", shown(text)));
    }
}

/// Returns the word that errors begin with.
pub fn error_mark() -> String {
    const RED: Style = AnsiColor::Red.on_default().bold();
    format!("{RED}error{RED:#}")
}

/// Returns a style for standard output, which is plain unless a terminal wants colours.
fn on_stdout(color: AnsiColor) -> Style {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => Style::new(),
        _ => color.on_default(),
    }
}

/// Creates a progress bar on standard error. Hidden with `--quiet`, or if standard error is not a terminal.
fn bar(length: u64, template: &str) -> ProgressBar {
    if QUIET.load(Ordering::Relaxed) {
        return ProgressBar::hidden();
    }
    let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
        // The bar is drawn without it if it cannot be written.
        let _ = write!(out, "{:.1}/s", state.per_sec());
    };
    ProgressBar::new(length).with_style(ProgressStyle::with_template(template).expect("a valid template").with_key("rate", rate))
}

/// Formats a number of bytes in MiB.
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Prints a line to standard error, in colours only if a terminal wants them. Ignores errors, for example if standard error is closed.
pub fn report(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Returns what turns an error of the operating system into one that names its file.
pub fn of_file(file: &Path) -> impl Fn(std::io::Error) -> Box<dyn Error> {
    let file = file.to_owned();
    move |source| vitraux::Error::Io { path: file.clone(), source }.into()
}

/// Returns true if a pipe was closed by its reader.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Returns the option that helps with an error of the library, to append to its message.
pub fn advice(error: &(dyn Error + 'static)) -> &'static str {
    match error.downcast_ref::<vitraux::Error>() {
        Some(vitraux::Error::NoDevice(_) | vitraux::Error::Limit { .. } | vitraux::Error::OutOfMemory { .. }) => " (--device cpu)",
        Some(vitraux::Error::ImageLimit { .. }) => " (--max-image-memory)",
        _ => "",
    }
}

/// Formats an error and its causes on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = text(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {}", text(error));
        cause = error.source();
    }
    abridged(&shown(&line.lines().map(str::trim).collect::<Vec<_>>().join(" ")))
}

/// Escapes control characters, which names and labels in files may contain, so that they neither steer a terminal nor break lines.
pub fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Longest message, in characters.
const LONGEST: usize = 2000;

/// Cuts a message that a file has made very long.
fn abridged(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ... ({} more characters)", &text[..end], text[end..].chars().count()),
        None => text.to_owned(),
    }
}

/// Formats an error without its causes; one of the operating system without its number.
fn text(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    match error.downcast_ref::<std::io::Error>().map(|error| (error.kind(), error.raw_os_error())) {
        Some((std::io::ErrorKind::NotFound, _)) => "no such file or folder".to_owned(),
        Some((_, Some(number))) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        _ => text,
    }
}
