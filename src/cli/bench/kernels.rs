use super::speed::{Ceilings, Speed, fastest};
use super::{BenchedModel, without_block};
use crate::cli::shaders::{check_folder, edited};
use crate::cli::{DeviceArgs, Format, Result};
use clap::Args;
use serde_json::json;
use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use vitraux::kernels::WAYS;
use vitraux::record::{Access, Dispatch, Recording};

#[derive(Debug, Args)]
pub struct Kernels {
    #[command(flatten)]
    model: BenchedModel,
    #[command(flatten)]
    device: DeviceArgs,
    /// Images of a batch
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Times that each is run; the fastest counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Only kernels and steps whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Also run the shaders of a folder that is laid out as vitraux' own `shaders`, as far as they are there, beside the built-in
    /// ones, and say how far their results are apart
    #[arg(long, value_name = "DIR")]
    shader_dir: Option<PathBuf>,
    /// text, or json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Kernels {
    pub fn run(self) -> Result<()> {
        let model = self.model.plan()?;
        let (device, precision, _) = self.device.open()?;
        self.shader_dir.as_deref().map_or(Ok(()), check_folder)?;
        let mut edited_are_run = false;
        let ceilings = Ceilings::measure(&device)?;
        let mut out = std::io::stdout().lock();
        if self.format == Format::Text {
            writeln!(out, "{}, batch {}, on {device}\nceilings: {ceilings}", model.name(), self.batch)?;
        }
        let mut known = HashSet::new();
        let mut rows = Vec::new();
        for way in std::iter::once(None).chain(WAYS.iter().copied().map(Some)) {
            let recording = Recording::new(device.capabilities()).with_precision(precision).preferring(way);
            let recording = model.record(self.batch, recording)?;
            for dispatch in recording.dispatches() {
                let step = without_block(&dispatch.label).to_owned();
                let kernel = name(dispatch);
                let is_asked_for = kernel.contains(&self.filter) || step.contains(&self.filter);
                // All blocks do the same, and most ways leave most kernels as they are.
                if !is_asked_for || !known.insert((step.clone(), kernel.clone(), dispatch.params.clone())) {
                    continue;
                }
                let mut measure = |dispatch: &Dispatch, kernel: &str, reference: Option<&[f32]>| -> Result<Vec<f32>> {
                    let (alone, inputs) = alone(&recording, dispatch)?;
                    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                    let (output, timing) = fastest(&device, alone, &inputs, self.runs as usize)?;
                    let apart = reference.map(|reference| apart(reference, &output));
                    let speed = Speed { kernel: timing.kernel, seconds: timing.seconds, flops: timing.flops, bytes: timing.bytes };
                    match self.format {
                        Format::Text => {
                            let apart = apart.map(|apart| format!(", results up to {apart:.1e} apart")).unwrap_or_default();
                            writeln!(out, "{step:<18} {kernel:<44} {}{apart}", speed.text(&ceilings))?;
                        }
                        Format::Json => {
                            rows.push(json!({ "step": step, "way": way, "kernel": kernel, "speed": speed.json(&ceilings), "apart": apart }))
                        }
                    }
                    Ok(output)
                };
                let reference = measure(dispatch, &kernel, None)?;
                if let Some(edited) = self.shader_dir.as_deref().map(|folder| edited(folder, dispatch.kernel)).transpose()?.flatten() {
                    edited_are_run = true;
                    measure(&Dispatch { kernel: edited, ..dispatch.clone() }, &format!("{kernel}, edited"), Some(&reference))?;
                }
            }
        }
        if let (Some(folder), false) = (&self.shader_dir, edited_are_run) {
            return Err(format!(
                "--shader-dir {}: expected shaders named as those of vitraux, none of them is of a kernel that was run",
                folder.display()
            )
            .into());
        }
        if self.format == Format::Json {
            let name = model.name();
            let device = device.to_string();
            writeln!(out, "{}", json!({ "name": name, "batch": self.batch, "device": device, "ceilings": ceilings.json(), "kernels": rows }))?;
        }
        Ok(())
    }
}

/// The kernel with the constants that make it another way to do the same.
fn name(dispatch: &Dispatch) -> String {
    let constants = dispatch.spec.0.iter().filter(|(name, _)| !["EPILOGUE", "ACTIVATION", "HEAD"].contains(name));
    std::iter::once(dispatch.kernel.name.to_owned()).chain(constants.map(|(name, value)| format!("{name}={value}"))).collect::<Vec<_>>().join(" ")
}

/// A recording of one dispatch of another, what it reads being inputs, and values for them.
fn alone(whole: &Recording, dispatch: &Dispatch) -> Result<(Recording, Vec<Vec<f32>>)> {
    let mut recording = Recording::new(*whole.capabilities());
    let mut inputs = Vec::new();
    let mut copies = std::collections::HashMap::new();
    let mut views = dispatch.views.clone();
    for (binding, view) in dispatch.kernel.bindings.iter().zip(&mut views) {
        let buffer = &whole.buffers()[view.buf.index()];
        let copy = match (copies.get(&view.buf), binding.access) {
            (Some(copy), _) => *copy,
            (None, Access::Write) => recording.scratch(&buffer.label, &buffer.shape)?,
            (None, Access::Read) => {
                // Small and without a pattern; as f16, two in each word, they are small too.
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

/// The largest difference of two results; NaN if one of them has a NaN.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, difference| if difference > worst || difference.is_nan() { difference } else { worst })
}
