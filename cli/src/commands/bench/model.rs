use super::accuracy::{Accuracy, AccuracyArgs};
use super::baseline::{Baseline, CompareArgs, conditions};
use super::percentiles::{Change, Paces, Percentiles, Repetitions};
use super::speed::{Ceilings, Speed, figures, milliseconds};
use super::{BenchFormat, opened, result, without_block};
use crate::commands::numbers::count;
use crate::commands::output::stdout;
use crate::commands::table::{Column, Table};
use crate::commands::{DeviceArgs, ModelArgs, PrecisionChoice, Result, TuningArgs, load};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;
use vitraux::Memory;
use vitraux::config::Size;
use vitraux::low_level::record::Timing;
use vitraux::{Image, Session, Tensor};

#[derive(Debug, Args)]
pub struct BenchModel {
    /// Models by their timm names, with random weights: one such as vit_base_patch16_224, or a list
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["model", "image_size", "adapter"])]
    architecture: Vec<String>,
    /// Precision of the weights, or a list such as f32,f16; sums are always f32
    #[arg(long, value_enum, value_name = "PRECISION", value_delimiter = ',', default_values_t = [PrecisionChoice::F32])]
    precision: Vec<PrecisionChoice>,
    /// Images per batch, or a list such as 1,8,32
    #[arg(long, value_name = "B", default_values_t = [1], value_delimiter = ',', allow_negative_numbers = true, value_parser = count(65536))]
    batch: Vec<u32>,
    /// Timed forward passes, after some untimed ones [default: 10, or more if they fit in 0.6 s]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1_000_000))]
    runs: Option<u32>,
    #[command(flatten)]
    accuracy: AccuracyArgs,
    #[command(flatten)]
    compare: CompareArgs,
    /// Output format; json prints an object for each model and precision
    #[arg(long, value_enum, default_value_t = BenchFormat::Text)]
    format: BenchFormat,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    tuning: TuningArgs,
}

impl BenchModel {
    pub fn run(self) -> Result<()> {
        let architectures: Vec<Option<&str>> = match self.architecture.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        self.accuracy.check()?;
        let mut out = stdout();
        let mut table = self.table([Column::Words("model"), Column::Words("device"), Column::Words("precision")]);
        let mut runs = architectures.into_iter().flat_map(|architecture| self.precision.iter().map(move |&precision| (architecture, precision)));
        let measured = runs.try_for_each(|(architecture, precision)| {
            let report = self.measure(architecture, precision)?;
            match self.format {
                BenchFormat::Json => writeln!(out, "{}", report.json())?,
                BenchFormat::Text => self.text(&mut out, &report)?,
                BenchFormat::Markdown | BenchFormat::Csv => self.enter(&mut table, &report, &report.conditions_of_table()),
            }
            Ok(())
        });
        // What was measured before an error is printed too.
        match self.format {
            BenchFormat::Json | BenchFormat::Text => {}
            format => format.print(&mut out, &table)?,
        }
        measured
    }

    /// Measures a model in a precision.
    fn measure(&self, architecture: Option<&str>, precision: PrecisionChoice) -> Result<Report> {
        let (checkpoint, size) = opened(architecture, &self.model)?;
        let start = Instant::now();
        let mut session = load(checkpoint, &self.device, precision, &self.tuning)?.session();
        let load = start.elapsed().as_secs_f64();
        let conditions = conditions(session.model().config(), &session.model().device().to_string(), session.model().precision(), size);
        let baseline = self.compare.open("batches", &conditions)?;
        // Without kernel times, there is nothing to compare with the ceilings.
        let ceilings = session.model().device().takes_times().then(|| Ceilings::measure(session.model().device())).transpose()?;
        let mut measured = self.batch.iter().map(|&batch| Measured::first(&mut session, batch as usize, size)).collect::<Result<Vec<_>>>()?;
        let repetitions = Repetitions::new(self.runs, 10, 0.6);
        for round in 0..repetitions.rounds {
            measured.iter_mut().try_for_each(|measured| measured.run(&mut session, &repetitions, round))?;
        }
        if ceilings.is_some() {
            measured.iter_mut().try_for_each(|measured| measured.profile(&mut session))?;
        }
        let after = session.model().device().takes_times().then(|| Ceilings::measure(session.model().device())).transpose()?;
        let paces = ceilings.iter().chain(&after).map(Ceilings::pace).collect();
        let ceilings = ceilings.zip(after).map(|(ceilings, after)| ceilings.or_higher(&after));
        let changes: Vec<_> = measured.iter().map(|measured| measured.change(baseline.as_ref()?, &paces)).collect();
        baseline.iter().for_each(|baseline| baseline.note_missing(&changes));
        let accuracy = self.accuracy.measure(&mut session, || Ok(opened(architecture, &self.model)?.0), size)?;
        Ok(Report { conditions, load, ceilings, paces, measured, changes, accuracy })
    }

    /// Returns an empty table of batches, with more columns in front.
    fn table(&self, front: impl IntoIterator<Item = Column>) -> Table {
        let behind = [Column::Numbers("first ms"), Column::Numbers("images/s"), Column::Numbers("weights MiB"), Column::Numbers("buffers MiB")];
        let change = self.compare.is_asked_for().then_some(Column::Words("change"));
        Table::new(front.into_iter().chain([Column::Numbers("batch")]).chain(Percentiles::COLUMNS).chain(behind).chain(change))
    }

    /// Adds the batches of a report to a table.
    fn enter(&self, table: &mut Table, report: &Report, front: &[String]) {
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        for (measured, change) in report.measured.iter().zip(&report.changes) {
            let times = measured.times();
            let mut cells = front.to_vec();
            cells.push(measured.batch.to_string());
            cells.extend(times.cells());
            cells.extend([milliseconds(measured.first), format!("{:.1}", measured.batch as f64 / times.median)]);
            cells.extend([mebibytes(measured.memory.weights), mebibytes(measured.memory.pass)]);
            cells.extend(self.compare.is_asked_for().then(|| change.map_or_else(String::new, |change| change.to_string())));
            table.add(cells);
        }
    }

    fn text(&self, out: &mut impl Write, report: &Report) -> Result<()> {
        let [name, device, precision] = report.conditions_of_table();
        writeln!(out, "{name} on {device}, {precision}; loaded in {} ms", milliseconds(report.load))?;
        match &report.ceilings {
            Some(ceilings) => writeln!(out, "ceilings: {ceilings}\n")?,
            None => writeln!(out, "the device cannot time its kernels\n")?,
        }
        let mut batches = self.table([]);
        self.enter(&mut batches, report, &[]);
        write!(out, "{}", batches.text())?;
        if let Some(ceilings) = &report.ceilings {
            report.measured.iter().try_for_each(|measured| measured.write_steps(out, ceilings))?;
        }
        report.accuracy.iter().try_for_each(|accuracy| accuracy.write(out))?;
        Ok(writeln!(out)?)
    }
}

/// Measurements of a model in a precision.
struct Report {
    conditions: Value,
    /// Seconds to load the model.
    load: f64,
    ceilings: Option<Ceilings>,
    paces: Paces,
    measured: Vec<Measured>,
    changes: Vec<Option<Change>>,
    accuracy: Option<Accuracy>,
}

impl Report {
    /// Returns the model, the device and the precision.
    fn conditions_of_table(&self) -> [String; 3] {
        ["name", "device", "precision"].map(|of| self.conditions[of].as_str().unwrap_or_default().to_owned())
    }

    fn json(&self) -> Value {
        let batches: Vec<_> =
            self.measured.iter().zip(&self.changes).map(|(measured, change)| measured.json(self.ceilings.as_ref(), *change)).collect();
        let mut whole = self.conditions.clone();
        whole["load_seconds"] = json!(figures(self.load));
        whole["ceilings"] = json!(self.ceilings.as_ref().map(Ceilings::json));
        whole["paces"] = json!(self.paces);
        whole["batches"] = json!(batches);
        whole["accuracy"] = json!(self.accuracy.as_ref().map(Accuracy::json));
        whole
    }
}

/// Seconds of forward passes before the profiles.
const WARM: f64 = 0.2;

const PROFILES: usize = 5;

/// Measurements of one batch size.
struct Measured {
    batch: usize,
    input: Tensor,
    /// Seconds of the first forward pass, including the compilation of the kernels.
    first: f64,
    /// Seconds of each timed pass.
    seconds: Vec<f64>,
    memory: Memory,
    /// Steps of one pass, longest first. Empty if the device cannot time kernels.
    steps: Vec<Step>,
}

impl Measured {
    /// Runs the first pass.
    fn first(session: &mut Session, batch: usize, size: Size) -> Result<Measured> {
        let input = input(session, batch, size)?;
        let first = timed(session, &input)?;
        let memory = session.memory().expect("it has run");
        Ok(Measured { batch, input, first, seconds: Vec::new(), memory, steps: Vec::new() })
    }

    /// Profiles the kernels, after passes that keep the clocks as high as in the timed ones. Keeps the median of several profiles.
    fn profile(&mut self, session: &mut Session) -> Result<()> {
        let wanted = result(session.model().config());
        let start = Instant::now();
        // A processor has its pace already.
        let (warm, count) = if session.model().device().capabilities().software { (0.0, 1) } else { (WARM, PROFILES) };
        while start.elapsed().as_secs_f64() < warm {
            timed(session, &self.input)?;
        }
        let mut profiles = (0..count).map(|_| session.profile_blocking(&self.input, &[wanted])).collect::<vitraux::Result<Vec<_>>>()?;
        let total = |timings: &Vec<Timing>| timings.iter().map(|timing| timing.seconds).sum::<f64>();
        profiles.sort_by(|a, b| total(a).total_cmp(&total(b)));
        self.steps = by_step(&profiles[count / 2]);
        Ok(())
    }

    /// Runs the passes of a round, after an untimed one.
    fn run(&mut self, session: &mut Session, repetitions: &Repetitions, round: usize) -> Result<()> {
        timed(session, &self.input)?;
        let (start, before) = (Instant::now(), self.seconds.len());
        while self.seconds.len() < before + repetitions.runs_of(round)
            || start.elapsed().as_secs_f64() < repetitions.seconds && self.seconds.len() < before + repetitions.most
        {
            self.seconds.push(timed(session, &self.input)?);
        }
        Ok(())
    }

    fn times(&self) -> Percentiles {
        Percentiles::of(self.seconds.clone())
    }

    /// Compares the times with the baseline.
    fn change(&self, baseline: &Baseline, paces: &Paces) -> Option<Change> {
        baseline.change(&[("batch", json!(self.batch))], &self.times(), paces)
    }

    fn json(&self, ceilings: Option<&Ceilings>, change: Option<Change>) -> Value {
        let step = |step: &Step, ceilings: &Ceilings| {
            let speed = Speed { kernel: step.kernel, seconds: step.seconds, flops: step.flops, bytes: step.bytes };
            json!({ "kernel": step.kernel, "step": step.label, "calls": step.calls, "speed": speed.json(ceilings) })
        };
        let times = self.times();
        let mut row = json!({
            "batch": self.batch,
            "first_seconds": figures(self.first),
            "change": change.map(|change| change.json()),
            "images_per_second": figures(self.batch as f64 / times.median),
            "weight_bytes": self.memory.weights,
            "pass_bytes": self.memory.pass,
            "pass_images": self.memory.images,
            "kernel_seconds": (!self.steps.is_empty()).then(|| figures(self.kernels())),
            "steps": ceilings.map(|ceilings| self.steps.iter().map(|known| step(known, ceilings)).collect::<Vec<_>>()),
        });
        times.enter(&mut row);
        row
    }

    /// Prints the share of each step.
    fn write_steps(&self, out: &mut impl Write, ceilings: &Ceilings) -> Result<()> {
        let total: f64 = self.steps.iter().map(|step| step.seconds).sum();
        let of = if self.memory.images < self.batch { format!(", one pass over {} images", self.memory.images) } else { String::new() };
        writeln!(out, "\nbatch {}{of}", self.batch)?;
        let front = [Column::Words("kernel"), Column::Words("step"), Column::Numbers("calls"), Column::Numbers("share %")];
        let mut table = Table::new(front.into_iter().chain(Speed::COLUMNS));
        for Step { kernel, label, calls, seconds, flops, bytes } in &self.steps {
            let speed = Speed { kernel, seconds: *seconds, flops: *flops, bytes: *bytes };
            let front = [(*kernel).to_owned(), label.clone(), calls.to_string(), format!("{:.1}", 100.0 * seconds / total)];
            table.add(front.into_iter().chain(speed.cells(ceilings)));
        }
        let share = 100.0 * self.kernels() / self.times().median;
        write!(out, "{}", table.text())?;
        Ok(writeln!(out, "all kernels, one after the other: {} ms, {share:.1} % of the median", milliseconds(self.kernels()))?)
    }

    /// Returns the seconds of the kernels in all passes of a batch.
    fn kernels(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum::<f64>() * self.batch as f64 / self.memory.images as f64
    }
}

/// Returns 8-bit images as read from files, or zeros if the model takes another input or another size.
fn input(session: &Session, batch: usize, size: Size) -> Result<Tensor> {
    let shape = session.model().config().input_shape(batch, size)?;
    if let (Some(preprocess), Size::Image([height, width])) = (session.model().preprocess(), size) {
        let image = Image::new([height, width], preprocess.channels, vec![99; height * width * preprocess.channels])?;
        let pixel_values = preprocess.apply(&image)?;
        if pixel_values.shape()[1..] == shape[1..] {
            return Ok(Tensor::stack(vec![pixel_values; batch])?);
        }
    }
    Ok(Tensor::zeros(shape))
}

/// Returns the seconds of a pass.
fn timed(session: &mut Session, input: &Tensor) -> Result<f64> {
    let wanted = result(session.model().config());
    let start = Instant::now();
    session.forward_blocking(input, &[wanted])?;
    Ok(start.elapsed().as_secs_f64())
}

/// Step of the encoder, summed over all blocks.
struct Step {
    kernel: &'static str,
    /// Label without the block, such as `mlp1`.
    label: String,
    calls: usize,
    seconds: f64,
    flops: u64,
    bytes: u64,
}

/// Sums timings over the blocks, longest step first.
fn by_step(timings: &[Timing]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for &Timing { kernel, ref label, seconds, flops, bytes, .. } in timings {
        let label = without_block(label);
        match steps.iter_mut().find(|step| step.kernel == kernel && step.label == label) {
            Some(step) => {
                (step.calls, step.seconds) = (step.calls + 1, step.seconds + seconds);
                (step.flops, step.bytes) = (step.flops + flops, step.bytes + bytes);
            }
            None => steps.push(Step { kernel, label: label.to_owned(), calls: 1, seconds, flops, bytes }),
        }
    }
    steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    steps
}
