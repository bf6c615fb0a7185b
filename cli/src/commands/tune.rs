use super::bench::{BenchedModel, note_passes};
use super::messages::shown;
use super::numbers::count;
use super::output::{Beside, check_named, check_replaceable, stdout};
use super::{DeviceArgs, PrecisionChoice, Result, bar, note};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use vitraux::Tuning;
use vitraux::low_level::record::Recording;

#[derive(Debug, Args)]
pub struct Tune {
    /// Precision of the weights; sums are always f32
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = PrecisionChoice::F32)]
    precision: PrecisionChoice,
    /// Images per batch, or a list such as 1,8,32
    #[arg(long, value_name = "B", default_values_t = [1], value_delimiter = ',', allow_negative_numbers = true, value_parser = count(65536))]
    batch: Vec<u32>,
    /// Also write the table to this file, to ship, edit or use with --tuning
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the existing table without measuring
    #[arg(long, conflicts_with_all = ["model", "architecture", "adapter", "image_size", "batch", "precision"])]
    show: bool,
    #[command(flatten)]
    model: BenchedModel,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Tune {
    pub fn run(self) -> Result<()> {
        let model = (!self.show).then(|| self.model.outline()).transpose()?;
        if let Some(file) = &self.output {
            check_named(file, "json")?;
            check_replaceable(file)?;
            self.model.protect(file)?;
        }
        if self.device.is_checked() {
            return Err("--checked: other runs would choose kernels by times that are not theirs; tune without it".into());
        }
        let (device, precision) = self.device.open(self.precision)?;
        if device.is_cpu() || !device.takes_times() {
            return Err(format!(
                "tuning needs a GPU with timestamp queries, found {device}; choose one with --device, or a software adapter with --device gpu"
            )
            .into());
        }
        let mut tuning = Tuning::of_user(&device);
        let (mut failed, mut saved) = (Vec::new(), Ok(()));
        if let Some(model) = model {
            for &batch in &self.batch {
                let (images, recording) = model.record(batch, &device, || Recording::new(device.capabilities()).with_precision(precision))?;
                note_passes(batch, images);
                let bar = bar(recording.asked().len() as u64, "{bar:40} {pos}/{len} tuning keys, {eta} left");
                failed.extend(tuning.measure(&device, recording.asked(), &|done, _| bar.set_position(done as u64)));
                bar.finish_and_clear();
                saved = tuning.save();
            }
        }
        // The table that was asked for is written even if the cache folder is not writable.
        self.output.iter().try_for_each(|file| tuning.save_to(file))?;
        match tuning.file() {
            Some(file) if file.exists() => note(&format!("table: {}", file.display())),
            _ => note("no variants have been measured on this device yet; run `vitraux tune` without --show"),
        }
        // Names in it may be anybody's.
        let mut out = Beside(stdout());
        tuning.to_string().lines().try_for_each(|line| writeln!(out, "{}", shown(line)))?;
        saved?;
        match failed.first() {
            None => Ok(()),
            Some(key) => Err(format!("{key}: no variant ran with correct results; the built-in rule is used instead").into()),
        }
    }
}
