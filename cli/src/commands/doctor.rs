//! Check that a device computes correctly.

use super::output::{Beside, stdout};
use super::shaders::EditedShaders;
use super::{DeviceParser, Format, ModelArgs, PrecisionChoice, Result, bar, chain, mebibytes, on_stdout};
use anstyle::AnsiColor;
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use vitraux::Tuning;
use vitraux::config::Size;
use vitraux::low_level::capabilities::{Capabilities, Precision};
use vitraux::low_level::doctor::{KernelReport, ModelReport, Outcome, Rival, TensorReport, check_cooperative, check_kernels, check_model};
use vitraux::low_level::kernels::ALL;
use vitraux::low_level::record::Kernel;
use vitraux::{Device, DeviceChoice, Model};

#[derive(Debug, Args)]
pub struct Doctor {
    /// Device: gpu (the best adapter, including software adapters), cpu, auto (a hardware GPU, else the CPU), or the number or name of an
    /// adapter from `vitraux devices`
    #[arg(long, value_name = "DEVICE", default_value = "gpu", env = "VITRAUX_DEVICE", value_parser = DeviceParser, hide_possible_values = true)]
    device: DeviceChoice,
    /// Precision to check a model in; kernels are checked in every precision that they support
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = PrecisionChoice::F32)]
    precision: PrecisionChoice,
    /// Check only kernels whose names contain TEXT
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Use the shaders in this folder, laid out like vitraux's own `shaders`, in place of the built-in ones; texture passes stay
    /// built-in
    #[arg(long, value_name = "DIR")]
    shader_dir: Option<PathBuf>,
    /// Output format; json prints one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    model: ModelArgs,
}

impl Doctor {
    pub fn run(self) -> Result<()> {
        let device = Device::open_blocking(self.device.clone())?;
        let is_gpu = !device.is_cpu();
        let asks_for_model = self.model.is_given();
        if asks_for_model && !is_gpu {
            return Err("--model: expected a GPU as --device, to compare the model with the CPU".into());
        }
        if self.shader_dir.is_some() && !is_gpu {
            return Err("--shader-dir: expected a GPU as --device; the CPU runs no shaders".into());
        }
        let edited = self.edited()?;
        // A check without a filter includes the built-in model.
        let checkpoint = (asks_for_model || is_gpu && self.filter.is_empty()).then(|| self.model.open()).transpose()?;
        if checkpoint.is_none() && self.precision != PrecisionChoice::F32 {
            return Err("--precision: expected a model to check in it; a check with --filter or on the CPU has none".into());
        }
        let exchange = |kernel: &'static Kernel| *edited.get(kernel.name).unwrap_or(&kernel);
        let mut report =
            Report { capabilities: device.capabilities(), device: device.to_string(), kernels: Vec::new(), rivals: Vec::new(), model: None };
        // The verdict is given whoever reads the rows.
        let mut out = Beside(stdout());
        let speaks = self.format == Format::Text;
        if speaks {
            write!(out, "{}", report.head())?;
        }
        let bar = bar(0, "{bar:40} {pos}/{len} kernels, {eta} left");
        let mut failure = Ok(());
        report.kernels = check_kernels(&device, &self.filter, &exchange, |kernel, [done, of]| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            if speaks {
                failure = bar.suspend(|| write!(out, "{}", kernel_line(kernel)));
            }
            if failure.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        bar.finish_and_clear();
        failure?;
        if report.kernels.is_empty() {
            return Err(format!(
                "--filter {}: no kernel name contains this; expected part of a name such as {} (`vitraux doctor` shows all {})",
                self.filter,
                ALL[0].name,
                ALL.len()
            )
            .into());
        }
        if let Some(folder) = &self.shader_dir
            && report.culprits().is_empty()
            && !report.kernels.iter().any(|kernel| edited.contains_key(kernel.kernel))
        {
            return Err(format!(
                "--shader-dir {}: none of its kernels was checked; --filter {} leaves them out, or the device cannot run them",
                folder.display(),
                self.filter
            )
            .into());
        }
        if speaks {
            writeln!(out, "{}", report.kernels_summary())?;
        }
        if self.filter.is_empty() {
            report.rivals = check_cooperative(&device);
        }
        if speaks {
            report.rivals.iter().try_for_each(|rival| write!(out, "{}", rival_line(rival)))?;
        }
        if let Some(checkpoint) = checkpoint {
            let precision = self.precision.on(&device);
            let size = self.model.image_size().map_or(checkpoint.config().native_size(), Size::Image);
            let name = checkpoint.config().name.clone();
            let builder = Model::builder(checkpoint).device(device.clone()).precision(precision).tuning(Tuning::of_user(&device));
            // A device that cannot run the model still gets a report.
            let examined = check_model(builder, size, &exchange).map_err(|error| format!("{name}: {}", chain(&error)));
            if speaks {
                write!(out, "{}", examined.as_ref().map_or_else(|error| format!("\n{error}\n"), |model| model_text(model, precision)))?;
            }
            report.model = Some((examined, precision));
        }
        if !speaks {
            writeln!(out, "{}", report.json())?;
        }
        report.verdict()
    }

    /// Returns the kernels whose shaders are in the folder, by name.
    fn edited(&self) -> Result<HashMap<&'static str, &'static Kernel>> {
        let Some(folder) = &self.shader_dir else { return Ok(HashMap::new()) };
        let shaders = EditedShaders::open(folder)?;
        let mut found = HashMap::new();
        for kernel in ALL.iter() {
            found.extend(shaders.edited(kernel)?.map(|edited| (kernel.name, edited)));
        }
        if found.is_empty() {
            return Err(format!("--shader-dir {}: expected shaders named like vitraux's own, found none", folder.display()).into());
        }
        Ok(found)
    }
}

/// Results of all checks.
struct Report {
    device: String,
    capabilities: Capabilities,
    kernels: Vec<KernelReport>,
    rivals: Vec<Rival>,
    /// Report on the model, or the reason why the device cannot run it.
    model: Option<(std::result::Result<ModelReport, String>, Precision)>,
}

impl Report {
    fn head(&self) -> String {
        let Capabilities { binding_bytes, buffer_bytes, workgroups, workgroup_bytes, subgroup, half, bf16, cooperative, software, .. } =
            self.capabilities;
        let yes = |is: bool| if is { "yes" } else { "no" };
        let or_none = |size: u32| if size == 0 { "none".to_owned() } else { size.to_string() };
        // Those of the CPU are only numbers.
        let limits = if self.capabilities == (Capabilities { bf16, ..Capabilities::CPU }) {
            format!("instructions for bf16: {}\n", yes(bf16))
        } else {
            format!(
                "limits: buffers of {}, bindings of {}, {workgroups} workgroups per dimension, {} KiB of workgroup memory\n\
                 subgroups: {}, f16: {}, cooperative matrices: {}, software: {}\n",
                mebibytes(buffer_bytes),
                mebibytes(binding_bytes),
                workgroup_bytes / 1024,
                or_none(subgroup),
                yes(half),
                or_none(cooperative),
                yes(software)
            )
        };
        format!(
            "vitraux {} for {} {}\ndevice: {}\n\
             {limits}\n\
             {:<40} {:>5} {:>11} {:>9}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            self.device,
            "kernel",
            "cases",
            "worst error",
            "bound"
        )
    }

    fn kernels_summary(&self) -> String {
        let count = |is: fn(&Outcome) -> bool| self.kernels.iter().filter(|kernel| is(&kernel.outcome)).count();
        format!(
            "{} correct, {} wrong, {} not supported by this device",
            count(|outcome| *outcome == Outcome::Right),
            count(Outcome::is_bad),
            count(|outcome| matches!(outcome, Outcome::Unsupported(_)))
        )
    }

    /// Returns the kernels at fault, each once. A kernel misled by another is not at fault; the other one is.
    fn culprits(&self) -> Vec<&'static str> {
        let culprit = |report: &KernelReport| match report.outcome {
            Outcome::Wrong(_) | Outcome::Failed(_) => Some(report.kernel),
            Outcome::Misled(by) => Some(by),
            Outcome::Right | Outcome::Unsupported(_) => None,
        };
        let mut names = Vec::new();
        for name in self.kernels.iter().filter_map(culprit) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Returns an error that names everything that is wrong, if anything is.
    fn verdict(&self) -> Result<()> {
        let mut wrong: Vec<String> = self.culprits().into_iter().map(str::to_owned).collect();
        wrong.extend(self.rivals.iter().flat_map(|rival| rival.wrong.clone()));
        match self.model.as_ref().map(|(examined, _)| examined.as_ref().map(ModelReport::first_divergence)) {
            Some(Ok(Some(TensorReport { step, .. }))) => wrong.push(format!("the first divergent tensor is {}, by {}", step.label, step.kernel)),
            Some(Err(error)) => wrong.push(error.clone()),
            Some(Ok(None)) | None => {}
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} gives wrong results or fails: {}", self.device, wrong.join("; ")).into()) }
    }

    fn json(&self) -> Value {
        let Capabilities { binding_bytes, buffer_bytes, workgroups, workgroup_bytes, subgroup, half, bf16, cooperative, software, .. } =
            self.capabilities;
        json!({
            "vitraux": env!("CARGO_PKG_VERSION"),
            "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            "device": self.device,
            "capabilities": {
                "buffer_bytes": buffer_bytes, "binding_bytes": binding_bytes, "workgroups": workgroups, "workgroup_bytes": workgroup_bytes,
                "subgroup": subgroup, "half": half, "bf16": bf16, "cooperative": cooperative, "software": software,
            },
            "kernels": self.kernels.iter().map(kernel_json).collect::<Vec<_>>(),
            "cooperative_matrices": self.rivals.iter().map(rival_json).collect::<Vec<_>>(),
            "model": self.model.as_ref().map(|(examined, precision)| {
                examined.as_ref().map_or_else(|error| json!({ "error": error }), |model| model_json(model, *precision))
            }),
            "wrong_kernels": self.culprits(),
            "ok": self.verdict().is_ok(),
        })
    }
}

/// Formats a verdict, in colour on terminals.
fn verdict(is_right: bool) -> String {
    let (word, color) = if is_right { ("ok", AnsiColor::Green) } else { ("WRONG", AnsiColor::Red) };
    let style = on_stdout(color);
    format!("{style}{word}{style:#}")
}

/// Formats a row of the table, with any error below it.
fn kernel_line(report: &KernelReport) -> String {
    let KernelReport { kernel, cases, worst, error, bound, outcome } = report;
    let row = format!("{kernel:<40} {cases:>5} {error:>11.1e} {bound:>9.1e}");
    match outcome {
        Outcome::Right => format!("{row}  {}\n", verdict(true)),
        Outcome::Wrong(difference) => format!("{row}  {}\n    {difference}\n", verdict(false)),
        Outcome::Misled(by) => format!("{row}  unclear: {worst} also runs {by}, which is at fault\n"),
        Outcome::Failed(reason) => format!("{row}  FAILED\n    {worst}: {reason}\n"),
        Outcome::Unsupported(lack) => format!("{kernel:<40}     -           -         -  {lack}\n"),
    }
}

fn kernel_json(report: &KernelReport) -> Value {
    let KernelReport { kernel, cases, worst, error, bound, outcome } = report;
    let (outcome, why) = match outcome {
        Outcome::Right => ("right", None),
        Outcome::Wrong(difference) => ("wrong", Some(difference.clone())),
        Outcome::Misled(by) => ("misled", Some(format!("{worst} also runs {by}, which is at fault"))),
        Outcome::Failed(reason) => ("failed", Some(reason.clone())),
        Outcome::Unsupported(lack) => ("unsupported", Some(lack.clone())),
    };
    json!({
        "kernel": kernel, "cases": cases, "worst_case": worst, "worst_error": finite(*error), "bound": bound, "outcome": outcome, "why": why,
    })
}

/// Returns `None` for infinity and NaN, which JSON cannot represent.
fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

fn rival_line(rival: &Rival) -> String {
    let verdict = match (rival.rejection(), &rival.cooperative, &rival.other) {
        (Some(reason), ..) => format!("rejected; {reason}"),
        (None, Some((variant, time)), Some((other, longer))) => format!("used; {variant} takes {time:.3} ms, {other} {longer:.3} ms"),
        (None, ..) => "used; there is no alternative".to_owned(),
    };
    format!("cooperative matrices for {}: {verdict}\n", rival.key)
}

fn rival_json(rival: &Rival) -> Value {
    let timed =
        |timed: &Option<(String, f64)>| timed.as_ref().map(|(kernel, milliseconds)| json!({ "kernel": kernel, "milliseconds": milliseconds }));
    json!({ "key": rival.key.to_string(), "cooperative": timed(&rival.cooperative), "other": timed(&rival.other), "rejected": rival.rejection() })
}

fn model_text(model: &ModelReport, precision: Precision) -> String {
    let mut text = format!(
        "\n{} in {precision}, each tensor computed from the device's own previous results\n{:<28} {:<28} {:>11} {:>9} {:>9}  \n",
        model.model, "tensor", "kernel", "worst error", "bound", "overall"
    );
    for TensorReport { step, outputs, apart } in &model.tensors {
        let apart = apart.map_or_else(|| "-".to_owned(), |apart| format!("{apart:.1e}"));
        let verdict = verdict(step.is_right());
        let outputs = if outputs.is_empty() { String::new() } else { format!("  = {}", outputs.join(", ")) };
        text += &format!("{:<28} {:<28} {:>11.1e} {:>9.1e} {apart:>9}  {verdict}{outputs}\n", step.label, step.kernel, step.error, step.bound);
    }
    text += &match model.first_divergence() {
        None => format!("{} tensors, none diverges\n", model.tensors.len()),
        Some(TensorReport { step, .. }) => format!("first divergent tensor: {}, by {}\n", step.label, step.kernel),
    };
    text
}

fn model_json(model: &ModelReport, precision: Precision) -> Value {
    let tensor = |TensorReport { step, outputs, apart }: &TensorReport| {
        json!({
            "tensor": step.label, "outputs": outputs, "kernel": step.kernel, "worst_error": finite(step.error), "bound": finite(step.bound),
            "ok": step.is_right(), "error_in_all": apart.and_then(finite),
        })
    };
    json!({
        "name": model.model,
        "precision": precision.to_string(),
        "first_divergence": model.first_divergence().map(|tensor| json!({ "tensor": tensor.step.label, "kernel": tensor.step.kernel })),
        "tensors": model.tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}
