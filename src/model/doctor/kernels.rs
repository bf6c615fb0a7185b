//! Checks every kernel on its cases.

use super::judge::steps;
use super::report::{KernelReport, Outcome};
use super::{Exchange, textures};
use crate::data::capabilities::{Capabilities, Needs};
use crate::data::error::Result;
use crate::data::record::{Kernel, Recording};
use crate::execution::cpu;
use crate::execution::device::Device;
use crate::execution::gpu::{self, Gpu, WeightBuffers};
use crate::operations::cases::{self, Case, compare::mismatch, reference};
use crate::operations::kernels::ALL;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Runs the cases of all kernels whose name contains `filter`. Calls `tell` with each report, the number of finished kernels and their total; `tell`
/// may stop the run.
pub fn check_kernels(
    device: &Device,
    filter: &str,
    exchange: Exchange<'_>,
    mut tell: impl FnMut(&KernelReport, [usize; 2]) -> ControlFlow<()>,
) -> Vec<KernelReport> {
    let cases = cases::all();
    let of_kernel = |kernel: &&Kernel| cases.iter().filter(|case| case.kernel == kernel.name).collect::<Vec<_>>();
    let kernels: Vec<Vec<&Case>> = ALL.iter().filter(|kernel| kernel.name.contains(filter)).map(of_kernel).collect();
    let of_kernels = kernels.iter().map(|own| check(device, own, exchange));
    let gpu = device.gpu();
    let of_textures = gpu.into_iter().flat_map(|gpu| textures::check(gpu, filter));
    let mut reports = Vec::new();
    for report in of_kernels.chain(of_textures) {
        let told = tell(&report, [(reports.len() + 1).min(kernels.len()), kernels.len()]);
        reports.push(report);
        if told.is_break() {
            break;
        }
    }
    reports
}

/// Runs all cases of a kernel.
fn check(device: &Device, cases: &[&Case], exchange: Exchange<'_>) -> KernelReport {
    let first = cases[0];
    let mut report = KernelReport { kernel: first.kernel, cases: 0, worst: String::new(), error: 0.0, bound: 0.0, outcome: Outcome::Right };
    if let Some(gpu) = device.gpu()
        && let Some(lack) = lack(first.needs(), &gpu.summary().capabilities)
    {
        return KernelReport { outcome: Outcome::Unsupported(lack), ..report };
    }
    if let Some(gpu) = device.gpu() {
        let recordings = cases.iter().filter_map(|case| Some(case.recording(gpu.summary().capabilities).ok()?.exchanging(exchange)));
        gpu.compile_ahead(&recordings.collect::<Vec<_>>());
    }
    let mut furthest = -1.0;
    for case in cases {
        report.cases += 1;
        let values = case.values();
        let got = match run(device, case, &values, exchange) {
            Ok(got) => got,
            // One fault of its own is enough.
            Err(_) if matches!(report.outcome, Outcome::Wrong(_)) => return report,
            Err(error) => {
                let outcome = refused(device, case, &values, exchange)
                    .filter(|kernel| *kernel != case.kernel)
                    .map_or_else(|| Outcome::Failed(error.to_string()), Outcome::Misled);
                return KernelReport { worst: case.name.clone(), error: 0.0, bound: 0.0, outcome, ..report };
            }
        };
        let expected = case.expected(&values);
        let bound = case.tolerance(&expected);
        let error = apart(&got, &expected);
        if error / bound > furthest {
            furthest = error / bound;
            (report.worst, report.error, report.bound) = (case.name.clone(), error, bound);
        }
        if !matches!(report.outcome, Outcome::Wrong(_))
            && let Some(difference) = mismatch(&got, &expected, &case.output, bound)
        {
            let wrong = format!("{}: {difference}", case.name);
            report.outcome = blamed(device, case, &values, exchange).map_or(Outcome::Wrong(wrong), Outcome::Misled);
        }
    }
    report
}

/// Returns the largest difference; infinity if the device returned NaN.
fn apart(got: &[f32], expected: &[f64]) -> f64 {
    let apart = |(got, expected): (f64, &f64)| if got.is_nan() { f64::INFINITY } else { (got - expected).abs() };
    reference::wide(got).into_iter().zip(expected).map(apart).fold(0.0, f64::max)
}

/// Runs a case on a device. The CPU runs every case, as all variants share a twin.
fn run(device: &Device, case: &Case, values: &[Vec<f32>], exchange: Exchange<'_>) -> Result<Vec<f32>> {
    let (capabilities, is_gpu) = match device.gpu() {
        None => (case.able(), false),
        Some(gpu) => (gpu.summary().capabilities, true),
    };
    let recording = case.recording(capabilities)?.exchanging(exchange);
    let inputs = case.laid_out(values.to_vec(), is_gpu);
    Ok(device.time_blocking(recording, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)?.0)
}

/// Returns the first other kernel in a case that is wrong on its own inputs; `None` if the case's own kernel is wrong too.
fn blamed(device: &Device, case: &Case, values: &[Vec<f32>], exchange: Exchange<'_>) -> Option<&'static str> {
    let gpu = device.gpu()?;
    let recording = case.recording(gpu.summary().capabilities).ok()?.exchanging(exchange);
    let got = outputs(gpu, &recording.traced(), &case.laid_out(values.to_vec(), true)).ok()?;
    let twins = cpu::Plan::new(recording.clone(), Arc::default());
    let inputs = case.laid_out(values.to_vec(), false);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let wrong: Vec<&str> = steps(&recording, twins, &inputs, &got).into_iter().filter(|step| !step.is_right()).map(|step| step.kernel).collect();
    if wrong.contains(&case.kernel) { None } else { wrong.first().copied() }
}

/// Returns the first kernel in a case that the device rejects or fails to run.
fn refused(device: &Device, case: &Case, values: &[Vec<f32>], exchange: Exchange<'_>) -> Option<&'static str> {
    let gpu = device.gpu()?;
    let recording = case.recording(gpu.summary().capabilities).ok()?.exchanging(exchange);
    let inputs = case.laid_out(values.to_vec(), true);
    let mut dispatches = recording.dispatches().enumerate();
    dispatches.find(|(i, _)| outputs(gpu, &recording.beginning(i + 1), &inputs).is_err()).map(|(_, dispatch)| dispatch.kernel.name)
}

fn outputs(gpu: &Arc<Gpu>, recording: &Recording, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    pollster::block_on(async {
        let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
        gpu::Plan::compile(gpu.clone(), recording, &none, &|_, _| ()).await?.run(&inputs).await
    })
}

/// Describes what a kernel needs and the device lacks.
fn lack(needs: Needs, capabilities: &Capabilities) -> Option<String> {
    let lacks = match needs {
        _ if needs.met_by(capabilities) => return None,
        Needs { cooperative, .. } if cooperative > 0 && cooperative != capabilities.cooperative => {
            format!("needs cooperative matrices of size {cooperative}")
        }
        Needs { workgroup_bytes, .. } if workgroup_bytes > capabilities.workgroup_bytes => {
            format!("needs {workgroup_bytes} bytes of workgroup memory")
        }
        Needs { large_shaders: true, .. } if !capabilities.large_shaders => "needs a compiler that supports large shaders".to_owned(),
        Needs { subgroups, .. } if subgroups > 0 => format!("needs workgroups of {subgroups} subgroups of equal size, within 256 invocations"),
        Needs { half: true, .. } if !capabilities.half => "needs f16".to_owned(),
        Needs { software: true, subgroup, .. } => format!("made for software adapters with subgroups of {subgroup}"),
        Needs { subgroup, .. } => format!("needs subgroups of {subgroup}"),
    };
    Some(lacks)
}
