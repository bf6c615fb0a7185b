//! Each kernel's twin against brute force in f64, and the GPU against both.

use crate::support::cases::{self, Case};
use crate::support::{compare::mismatch, gpu, replay};
use std::collections::BTreeMap;
use std::sync::Arc;
use vitraux::Tuning;
use vitraux::low_level::capabilities::Capabilities;
use vitraux::low_level::gpu::Gpu;
use vitraux::low_level::kernels::{self, ALL, Mask, SampleEpilogue};
use vitraux::low_level::record::{BufferInfo, Command, Recording, Role};

/// What a device with these capabilities gives for a case, if it can run it.
fn result(
    case: &Case,
    capabilities: &Capabilities,
    is_gpu: bool,
    run: impl Fn(&Recording, &[&[f32]]) -> Vec<f32>,
) -> Option<(Vec<Vec<f32>>, Vec<f32>)> {
    if !case.needs().met_by(capabilities) {
        return None;
    }
    let values = case.values();
    let laid_out = case.laid_out(values.clone(), is_gpu);
    let inputs: Vec<&[f32]> = laid_out.iter().map(Vec::as_slice).collect();
    let recording = case.recording(*capabilities).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let runs_it = |command: &Command| matches!(command, Command::Dispatch(dispatch) if dispatch.kernel.name == case.kernel);
    assert!(recording.commands().iter().any(runs_it), "{}: does not run {}", case.name, case.kernel);
    Some((values, run(&recording, &inputs)))
}

/// The CPU's result, whatever the kernel needs: all variants have the same twin.
fn on_cpu(case: &Case) -> (Vec<Vec<f32>>, Vec<f32>) {
    result(case, &case.able(), false, |recording, inputs| replay::on_cpu(recording, inputs).remove(0)).expect("the CPU runs everything")
}

fn on_gpu(case: &Case, gpu: &Arc<Gpu>) -> Option<(Vec<Vec<f32>>, Vec<f32>)> {
    let run = |recording: &_, inputs: &[&[f32]]| replay::on_gpu(gpu, recording, inputs).expect("the device runs it").remove(0);
    result(case, &gpu.summary().capabilities, true, run)
}

fn check(cases: &[Case], run: impl Fn(&Case) -> Option<(Vec<Vec<f32>>, Vec<f32>)>) {
    let failure = |case: &Case| {
        let (values, got) = run(case)?;
        let expected = case.expected(&values);
        let difference = mismatch(&got, &expected, &case.output, case.tolerance(&expected))?;
        Some(format!("{}: {difference}", case.name))
    };
    let failures: Vec<String> = cases.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check_twins(cases: &[Case]) {
    check(cases, |case| Some(on_cpu(case)));
}

/// The cases for the GPU: with `VITRAUX_ONLY_MATRICES=1`, which `tests/cooperative` sets, those of cooperative matrices only, because another adapter
/// has run the rest.
fn of_gpu(cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().filter(|case| !only_matrices() || case.needs().cooperative > 0).collect()
}

fn only_matrices() -> bool {
    std::env::var("VITRAUX_ONLY_MATRICES").is_ok_and(|value| value == "1")
}

fn check_gpu(cases: &[Case]) {
    let Some(gpu) = gpu::device() else { return };
    let unable = cases.iter().filter(|case| !case.needs().met_by(&gpu.summary().capabilities)).map(|case| case.kernel);
    for kernel in unable.collect::<std::collections::BTreeSet<_>>() {
        println!("SKIPPED: the device does not have what {kernel} needs");
    }
    check(cases, |case| on_gpu(case, &gpu));
}

#[test]
fn cpu_twins_match_brute_force() {
    check_twins(&cases::all());
}

#[test]
fn cpu_twins_match_brute_force_on_ragged_shapes() {
    check_twins(&cases::fuzzed(6));
}

#[test]
fn gpu_matches_brute_force() {
    check_gpu(&of_gpu(cases::all()));
}

#[test]
fn gpu_matches_brute_force_on_ragged_shapes() {
    // Each size of matrices is compiled for seconds.
    let rounds = if only_matrices() { 2 } else { 4 };
    check_gpu(&of_gpu(cases::fuzzed(rounds)));
}

/// The two smallest cases of each variant of cooperative matrices that a device has.
fn of_matrices(device: &Capabilities) -> Vec<Case> {
    let mut of_kernels: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for case in cases::all().into_iter().filter(|case| case.needs().cooperative > 0 && case.needs().met_by(device)) {
        of_kernels.entry(case.kernel).or_default().push(case);
    }
    let smallest = |mut cases: Vec<Case>| {
        cases.sort_by_key(|case| case.flops);
        cases.truncate(2);
        cases
    };
    of_kernels.into_values().flat_map(smallest).collect()
}

/// Variants of cooperative matrices as hardware is given them, with loops unrolled and K put in.
#[test]
fn large_shaders_match_brute_force() {
    let Some(gpu) = gpu::smaller(|capabilities| capabilities.large_shaders = true) else { return };
    check(&of_matrices(&gpu.summary().capabilities), |case| on_gpu(case, &gpu));
}

/// Products of cooperative matrices as Metal is given them, from arrays of scalars.
#[test]
fn scalar_tiles_match_brute_force() {
    let Some(gpu) = gpu::smaller(|capabilities| capabilities.scalar_tiles = true) else { return };
    let has_scalars = |case: &Case| {
        let kernel = ALL.iter().find(|kernel| kernel.name == case.kernel).expect("a case has a kernel");
        kernel.entry == "matmul_cooperative"
    };
    let cases: Vec<Case> = of_matrices(&gpu.summary().capabilities).into_iter().filter(has_scalars).collect();
    assert_eq!(cases.is_empty(), gpu.summary().capabilities.cooperative == 0);
    check(&cases, |case| on_gpu(case, &gpu));
}

/// Where subgroups may be of several sizes, a pipeline that is run says which it is.
#[test]
fn probe_finds_unknown_subgroup_size() {
    let Some(gpu) = gpu::device() else { return };
    let Capabilities { subgroup, cooperative, .. } = gpu.summary().capabilities;
    if cooperative == 0 {
        println!("SKIPPED: the device has no cooperative matrices");
        return;
    }
    let probed = gpu::smaller(|capabilities| capabilities.subgroup = 0).expect("the adapter opens again");
    assert_eq!(probed.summary().capabilities.subgroup, subgroup);
}

/// Where subgroups may be of several sizes, variants of cooperative matrices wait for `vitraux tune`, which tries them with every epilogue.
#[test]
fn untested_cooperative_variants_require_a_tuning_table() {
    use vitraux::low_level::capabilities::{Precision, Trust};
    use vitraux::low_level::record::TuningKey;
    let Some(gpu) = gpu::smaller(|capabilities| (capabilities.software, capabilities.trust) = (false, Trust::Portable)) else { return };
    let capabilities = gpu.summary().capabilities;
    let key = TuningKey::product([50, 64, 32], [Precision::F16; 2], &capabilities);
    let variants = kernels::variants(key, &capabilities);
    let taken = |key, tuning: &Tuning| {
        let mut recording = Recording::new(capabilities).with_precision(Precision::F16).with_choices(tuning.choices());
        kernels::sample(&mut recording, key, SampleEpilogue::Bias).expect("it fits");
        recording.dispatches().next().expect("it dispatches").kernel
    };
    // So large that they should be the fastest.
    let large = TuningKey::product([4096, 2304, 768], [Precision::F16; 2], &capabilities);
    assert_eq!(kernels::variants(large, &capabilities)[0].needs.cooperative, capabilities.cooperative);
    assert_eq!(taken(large, &Tuning::built_in()).needs.cooperative, 0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, device) = (folder.path().join("table.json"), vitraux::Device::from(gpu));
    let mut tuning = Tuning::kept_at(&file, &device);
    assert!(tuning.measure(&device, &[key], &|_, _| ()).is_empty(), "{tuning}");
    tuning.save().expect("it is written");
    let mut table: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("it is there")).expect("it is JSON");
    let found = &mut table["keys"][key.to_string()];
    assert_eq!(found["milliseconds"].as_object().expect("times").len(), variants.len(), "{found}");
    if let Some(cooperative) = variants.iter().find(|kernel| kernel.needs.cooperative > 0) {
        found["variant"] = cooperative.name.into();
        std::fs::write(&file, table.to_string()).expect("written");
        assert_eq!(taken(key, &Tuning::open(&file).expect("a table")).name, cooperative.name);
    }
}

/// Real outputs differ by rounding only, so GPU and twin may be twice a tolerance apart at most.
#[test]
fn gpu_matches_cpu_twins() {
    let Some(gpu) = gpu::device() else { return };
    for case in of_gpu(cases::all()) {
        let Some((_, got)) = on_gpu(&case, &gpu) else { continue };
        let twin: Vec<f64> = on_cpu(&case).1.into_iter().map(f64::from).collect();
        let difference = mismatch(&got, &twin, &case.output, 2.0 * case.tolerance(&twin));
        assert!(difference.is_none(), "{}: {}", case.name, difference.unwrap_or_default());
    }
}

/// What stands behind the end of a buffer changes nothing, and stays as it is, although nobody checks indices while shaders run.
#[test]
fn kernels_ignore_and_preserve_memory_past_buffer_ends() {
    let Some(gpu) = gpu::device() else { return };
    let mut failures = Vec::new();
    for case in of_gpu(cases::all()) {
        let run = |recording: &Recording, inputs: &[&[f32]]| {
            let recording = replay::padded(recording);
            let words = |info: &BufferInfo| replay::PADDING * info.precision.bits() as usize / 32;
            let infos = recording.buffers().iter().filter(|info| matches!(info.role, Role::Input(_)));
            let longer = |(input, info): (&&[f32], _)| [*input, &vec![f32::from_bits(0x7fc0_7fc0); words(info)]].concat();
            let inputs: Vec<Vec<f32>> = inputs.iter().zip(infos).map(longer).collect();
            replay::on_gpu(&gpu, &recording, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("the device runs it").remove(0)
        };
        let Some((values, mut got)) = result(&case, &gpu.summary().capabilities, true, run) else { continue };
        let expected = case.expected(&values);
        if got.split_off(expected.len()).iter().any(|&behind| behind != 0.0) {
            failures.push(format!("{}: writes behind the end", case.name));
        }
        let difference = mismatch(&got, &expected, &case.output, case.tolerance(&expected));
        failures.extend(difference.map(|difference| format!("{}: {difference}", case.name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_kernel_has_cases() {
    let cases = cases::all();
    for kernel in ALL.iter() {
        let own = cases.iter().filter(|case| case.kernel == kernel.name).count();
        assert!(own >= 3, "{} has {own} cases", kernel.name);
    }
    for case in cases {
        assert!(ALL.iter().any(|kernel| kernel.name == case.kernel), "{} is not in ALL", case.kernel);
        assert!(case.flops > 0 && case.bytes() > 0, "{}", case.name);
    }
}

/// 4097 tokens (1024 x 1024 pixels by patches of 16, and a class token): no N x N matrix is stored.
#[test]
fn long_sequences_run_in_linear_memory() {
    let Some(gpu) = gpu::device() else { return };
    let (tokens, head) = (4097, 16);
    let mut recording = Recording::new(gpu.summary().capabilities);
    let qkv = recording.input("qkv", &[1, tokens, 3 * head]).expect("it fits");
    let y = recording.scratch("y", &[1, tokens, head]).expect("it fits");
    kernels::attention(&mut recording, "attention".into(), qkv, 1, Mask::None, y).expect("it fits");
    recording.save("y", y);
    assert!(recording.scratch_bytes() < 16 * (tokens * head * 4) as u64);
    let values = crate::support::cases::Rng::new("long").units(tokens * 3 * head);
    let got = replay::on_gpu(&gpu, &recording, &[&values]).expect("the device runs it").remove(0);
    let twin: Vec<f64> = replay::on_cpu(&recording, &[&values]).remove(0).into_iter().map(f64::from).collect();
    assert_eq!(mismatch(&got, &twin, &[tokens, head], 2e-6), None);
}
