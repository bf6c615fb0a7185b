use super::baseline::{CompareArgs, conditions};
use super::percentiles::{Change, Percentiles, Repetitions};
use super::speed::{Ceilings, Speed, milliseconds, timed};
use super::{BenchFormat, BenchedModel, ModelOutline, note_passes, without_block};
use crate::commands::numbers::count;
use crate::commands::output::stdout;
use crate::commands::shaders::EditedShaders;
use crate::commands::table::{Column, Table};
use crate::commands::{DeviceArgs, PrecisionChoice, Result, bar};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::PathBuf;
use vitraux::Device;
use vitraux::Precision;
use vitraux::low_level::kernels::ALL;
use vitraux::low_level::record::{Access, Dispatch, Kernel, Recording};

#[derive(Debug, Args)]
pub struct BenchKernels {
    /// Precision of the weights; sums are always f32
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = PrecisionChoice::F32)]
    precision: PrecisionChoice,
    /// Images per batch
    #[arg(long, value_name = "B", default_value_t = 1, allow_negative_numbers = true, value_parser = count(65536))]
    batch: u32,
    /// Timed runs of each kernel, after some untimed ones; the median is reported [default: 9, or more if they fit in 30 ms]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1_000_000))]
    runs: Option<u32>,
    /// Run only kernels and steps whose names contain TEXT
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Also run the shaders in this folder, laid out like vitraux's own `shaders`, next to the built-in ones, and report how far
    /// their results differ
    #[arg(long, value_name = "DIR")]
    shader_dir: Option<PathBuf>,
    #[command(flatten)]
    compare: CompareArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = BenchFormat::Text)]
    format: BenchFormat,
    #[command(flatten)]
    model: BenchedModel,
    #[command(flatten)]
    device: DeviceArgs,
}

impl BenchKernels {
    pub fn run(self) -> Result<()> {
        let model = self.model.outline()?;
        let (device, precision) = self.device.open(self.precision)?;
        let shaders = self.shader_dir.as_deref().map(EditedShaders::open).transpose()?;
        let conditions = conditions(&model.config, &device.to_string(), precision, model.size);
        let baseline = self.compare.open("kernels", &conditions)?;
        let recordings = recordings(&model, self.batch, &device, precision)?;
        let mut rows = self.rows(&recordings, shaders.as_ref())?;
        if rows.is_empty() {
            let steps: BTreeSet<&str> = recordings[0].dispatches().map(|dispatch| without_block(&dispatch.label)).collect();
            let steps = steps.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "--filter {}: no kernel or step name contains this; expected part of one of the steps {steps}, or of a kernel name",
                self.filter
            )
            .into());
        }
        if self.shader_dir.is_some() && device.is_cpu() {
            return Err("--shader-dir: expected a GPU as --device; the CPU runs no shaders".into());
        }
        if let (Some(folder), true) = (&self.shader_dir, rows.iter().all(|row| row.built_in.is_none())) {
            return Err(format!(
                "--shader-dir {}: expected shaders named like vitraux's own, found none for a kernel that was run",
                folder.display()
            )
            .into());
        }
        let ceilings = Ceilings::measure(&device)?;
        let repetitions = Repetitions::new(self.runs, 9, 0.03);
        let bar = bar((repetitions.rounds * rows.len()) as u64, "{bar:40} {pos}/{len} kernels, {eta} left");
        for round in 0..repetitions.rounds {
            let mut built_in = Vec::new();
            for row in &mut rows {
                let output = row.measure(&device, &recordings, &repetitions, round)?;
                if round == 0 {
                    match row.built_in {
                        Some(_) => row.apart = Some(apart(&built_in, &output)),
                        None => built_in = output,
                    }
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let after = Ceilings::measure(&device)?;
        let paces = vec![ceilings.pace(), after.pace()];
        let ceilings = ceilings.or_higher(&after);
        let changes: Vec<_> = rows.iter().map(|row| baseline.as_ref()?.change(&row.keys(), &row.times(), &paces)).collect();
        baseline.iter().for_each(|baseline| baseline.note_missing(&changes));
        let mut out = stdout();
        if self.format == BenchFormat::Json {
            let rows: Vec<_> = rows.iter().zip(changes).map(|(row, change)| row.json(&ceilings, change)).collect();
            let mut whole = conditions;
            whole["batch"] = json!(self.batch);
            whole["ceilings"] = ceilings.json();
            whole["paces"] = json!(paces);
            whole["kernels"] = json!(rows);
            return Ok(writeln!(out, "{whole}")?);
        }
        if self.format == BenchFormat::Text {
            writeln!(out, "{}, batch {}, on {device}\nceilings: {ceilings}\n", model.name(), self.batch)?;
        }
        self.format.print(&mut out, &self.table(&rows, &ceilings, &changes))
    }

    fn table(&self, rows: &[Row], ceilings: &Ceilings, changes: &[Option<Change>]) -> Table {
        let [time, rates @ ..] = Speed::COLUMNS;
        let mut columns = vec![Column::Words("step"), Column::Words("kernel"), time, Column::Numbers("± ms")];
        columns.extend(rates);
        columns.extend(self.shader_dir.is_some().then_some(Column::Numbers("difference")));
        columns.extend(self.compare.is_asked_for().then_some(Column::Words("change")));
        let mut table = Table::new(columns);
        for (row, change) in rows.iter().zip(changes) {
            let times = row.times();
            let [time, rates @ ..] = row.speed(&times).cells(ceilings);
            let mut cells = vec![row.step.clone(), row.kernel.clone(), time, milliseconds(times.spread())];
            cells.extend(rates);
            cells.extend(self.shader_dir.is_some().then(|| row.apart.map_or_else(String::new, |apart| format!("{apart:.1e}"))));
            cells.extend(self.compare.is_asked_for().then(|| change.map_or_else(String::new, |change| change.to_string())));
            table.add(cells);
        }
        table
    }

    /// Returns a row for each step of the model and each variant, since all blocks are alike. A row for any edited shader follows it.
    fn rows(&self, recordings: &[Recording], shaders: Option<&EditedShaders>) -> Result<Vec<Row>> {
        let (mut known, mut rows) = (HashSet::new(), Vec::new());
        for (place, recording) in recordings.iter().enumerate() {
            for dispatch in recording.dispatches() {
                let (step, kernel) = (without_block(&dispatch.label).to_owned(), dispatch.kernel.name.to_owned());
                let is_asked_for = kernel.contains(&self.filter) || step.contains(&self.filter);
                // Most preferences leave most kernels unchanged.
                if !is_asked_for || !known.insert((step.clone(), kernel.clone(), dispatch.params.clone())) {
                    continue;
                }
                let dispatch = dispatch.clone();
                let row = Row { batch: self.batch, step, kernel, recording: place, dispatch, built_in: None, seconds: Vec::new(), apart: None };
                let edited = shaders.map(|shaders| shaders.edited(row.dispatch.kernel)).transpose()?.flatten();
                let beside = edited.map(|kernel| row.edited(kernel));
                rows.extend(std::iter::once(row).chain(beside));
            }
        }
        Ok(rows)
    }
}

/// Records forward passes of a model: the default one, and one with a preference for each kernel that the device can run.
fn recordings(model: &ModelOutline, batch: u32, device: &Device, precision: Precision) -> Result<Vec<Recording>> {
    let capabilities = device.capabilities();
    let able = ALL.iter().filter(|kernel| kernel.needs.met_by(&capabilities)).map(|kernel| Some(kernel.name));
    let record = |preferred| {
        let recording = || Recording::new(capabilities).with_precision(precision).preferring(preferred);
        Ok(model.record(batch, device, recording)?)
    };
    let recorded = std::iter::once(None).chain(able).map(record).collect::<Result<Vec<_>>>()?;
    note_passes(batch, recorded[0].0);
    Ok(recorded.into_iter().map(|(_, recording)| recording).collect())
}

/// Single call of a kernel.
#[derive(Clone)]
struct Row {
    batch: u32,
    step: String,
    kernel: String,
    /// Index of its recording.
    recording: usize,
    dispatch: Dispatch,
    /// For an edited kernel, the name of the built-in one, which has the row before.
    built_in: Option<String>,
    seconds: Vec<f64>,
    /// Largest difference between the results of an edited kernel and those of the built-in one.
    apart: Option<f32>,
}

impl Row {
    /// Returns the same row with another shader.
    fn edited(&self, kernel: &'static Kernel) -> Row {
        let dispatch = Dispatch { kernel, ..self.dispatch.clone() };
        Row { kernel: format!("{}, edited", self.kernel), dispatch, built_in: Some(self.kernel.clone()), ..self.clone() }
    }

    /// Runs the kernel, keeps its times and returns its output.
    fn measure(&mut self, device: &Device, recordings: &[Recording], repetitions: &Repetitions, round: usize) -> Result<Vec<f32>> {
        let (alone, inputs) = alone(&recordings[self.recording], &self.dispatch)?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let (output, timings) = timed(device, alone, &inputs, repetitions, round)?;
        self.seconds.extend(timings.iter().map(|timing| timing.seconds));
        Ok(output)
    }

    /// Returns the values that identify the row in a run.
    fn keys(&self) -> [(&'static str, Value); 4] {
        let Row { batch, step, kernel, dispatch, .. } = self;
        [("step", json!(step)), ("kernel", json!(kernel)), ("batch", json!(batch)), ("bytes", json!(dispatch.bytes()))]
    }

    fn speed(&self, times: &Percentiles) -> Speed {
        Speed { kernel: self.dispatch.kernel.name, seconds: times.median, flops: self.dispatch.flops, bytes: self.dispatch.bytes() }
    }

    fn times(&self) -> Percentiles {
        Percentiles::of(self.seconds.clone())
    }

    fn json(&self, ceilings: &Ceilings, change: Option<Change>) -> Value {
        let times = self.times();
        let mut row = json!({ "speed": self.speed(&times).json(ceilings), "apart": self.apart, "change": change.map(|change| change.json()) });
        self.keys().into_iter().for_each(|(key, value)| row[key] = value);
        times.enter(&mut row);
        row
    }
}

/// Extracts one dispatch into a recording of its own. Returns it with values for its inputs, the buffers that the dispatch reads.
fn alone(whole: &Recording, dispatch: &Dispatch) -> Result<(Recording, Vec<Vec<f32>>)> {
    let mut recording = Recording::new(*whole.capabilities());
    let mut inputs = Vec::new();
    let mut copies = std::collections::HashMap::new();
    let mut views = dispatch.views.clone();
    for (binding, view) in dispatch.kernel.bindings.iter().zip(&mut views) {
        let buffer = &whole.buffers()[view.buf.index()];
        let copy = match (copies.get(&view.buf), binding.access) {
            (Some(copy), _) => *copy,
            (None, Access::Write) => recording.scratch_in(&buffer.label, &buffer.shape, buffer.precision)?,
            (None, Access::Read) => {
                // Small values without a pattern. They are also small as f16, with two in each word.
                inputs.push((0..buffer.bytes() / 4).map(|i| ((i * 7919) % 997) as f32 / 997.0 - 0.5).collect());
                recording.input_like(buffer)?
            }
        };
        copies.insert(view.buf, copy);
        view.buf = copy;
    }
    let written = dispatch.kernel.bindings.iter().zip(&views).find(|(binding, _)| binding.access == Access::Write);
    let written = written.expect("a kernel writes a buffer").1.buf;
    recording.dispatch(Dispatch { views, ..dispatch.clone() })?;
    recording.save("written", written);
    Ok((recording, inputs))
}

/// Returns the largest difference between two results, or NaN if one of them has a NaN.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, difference| if difference > worst || difference.is_nan() { difference } else { worst })
}
