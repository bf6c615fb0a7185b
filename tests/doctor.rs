//! What `doctor` says of devices that are right, and of those whose kernels are broken.

use crate::mutants::broken;
use crate::support::{cli, gpu, model_in, path};
use std::ops::ControlFlow;
use std::path::PathBuf;
use vitraux::Precision;
use vitraux::Tuning;
use vitraux::low_level::doctor::{ModelReport, Outcome, Step, check_kernels, check_model};
use vitraux::low_level::kernels::ALL;
use vitraux::low_level::record::{Kernel, TuningKey};
use vitraux::{Checkpoint, Device, Model};

fn of_name(name: &str) -> &'static Kernel {
    ALL.iter().find(|kernel| kernel.name == name).expect("a kernel")
}

fn examined(checkpoint: Checkpoint, device: &Device, precision: Precision, exchange: impl Fn(&'static Kernel) -> &'static Kernel) -> ModelReport {
    let size = checkpoint.config().native_size();
    check_model(Model::builder(checkpoint).device(device.clone()).precision(precision), size, &exchange).expect("it is examined")
}

/// Paths to open, one for each fixture.
fn models() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(path("tests/fixtures/cases")).expect("a folder");
    let mut models: Vec<PathBuf> = folders.map(|entry| model_in(entry.expect("an entry").path())).collect();
    models.sort();
    models
}

/// In `always`, and in `others` in turn, for it takes long: their kernels are the same in each model.
fn assert_no_tensor_diverges_on(device: &Device, always: Option<Precision>, others: &[Precision]) {
    let (mut examined_models, mut nearest) = (0, 0.0_f64);
    for (number, model) in models().into_iter().enumerate() {
        for precision in always.into_iter().chain([others[number % others.len()]]) {
            let checkpoint = Checkpoint::open(&model).unwrap_or_else(|error| panic!("{error}"));
            let report = examined(checkpoint, device, precision, |kernel| kernel);
            let worst = report.tensors.iter().max_by(|a, b| (a.step.error / a.step.bound).total_cmp(&(b.step.error / b.step.bound)));
            let worst = worst.expect("it computes something");
            nearest = nearest.max(worst.step.error / worst.step.bound);
            // Room for drivers that round otherwise, but no more than they need; results in f16 may be a whole unit apart.
            let allowed = |step: &Step| step.rounding + (step.bound - step.rounding) / 2.0;
            assert!(report.tensors.iter().all(|tensor| tensor.step.error <= allowed(&tensor.step)), "{}: {precision}: {worst:?}", model.display());
            assert!(report.first_divergence().is_none(), "{}: {precision}: {:?}", model.display(), report.first_divergence());
            assert!(
                report.tensors.iter().any(|tensor| tensor.outputs.iter().any(|name| name.trim_start_matches("text.").starts_with("hidden."))),
                "{}: outputs are named",
                model.display()
            );
            examined_models += 1;
        }
    }
    println!("{device}: {examined_models} examinations, at the most {nearest:.3} of a bound is reached");
    assert_eq!(examined_models, 105 * (1 + usize::from(always.is_some())));
}

#[test]
fn no_tensor_diverges_in_any_model() {
    if let Some(gpu) = gpu::device() {
        assert_no_tensor_diverges_on(&Device::from(gpu), Some(Precision::F32), &[Precision::F16, Precision::Bf16, Precision::Int8]);
    }
}

/// With cooperative matrices, if the device has them.
#[test]
fn no_tensor_diverges_with_hardware_kernels() {
    if let Some(gpu) = gpu::like_hardware() {
        assert_no_tensor_diverges_on(&Device::from(gpu), None, &[Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8]);
    }
}

/// On a device that checks what shaders do, as a broken one may do anything.
fn checked() -> Option<Device> {
    gpu::checked().map(Device::from)
}

/// What comes before the broken kernel is right, and what comes behind it is right of what it reads.
#[test]
fn first_divergent_tensor_points_to_the_broken_kernel() {
    let Some(device) = checked() else { return };
    let right = examined(Checkpoint::digits(), &device, Precision::F32, |kernel| kernel);
    let mut broken_kernels = 0;
    for (name, right_text, wrong_text) in [
        ("embed", "y[i] = value;", "y[i] = value + 1e-3;"),
        ("layernorm", "+ params.epsilon", "+ 1e-3"),
        ("layernorm_subgroup", "+ params.epsilon", "+ 1e-3"),
        ("attention_tiled", "params.scale", "1.01 * params.scale"),
        ("attention_software", "params.scale", "1.01 * params.scale"),
        ("pool", "/ f32(params.count)", "/ (f32(params.count) + 0.01)"),
        ("softmax", "/ total", "/ (total + 1e-4)"),
    ] {
        let Some(first) = right.tensors.iter().position(|tensor| tensor.step.kernel == name) else { continue };
        let mutant = broken(of_name(name), right_text, wrong_text).expect("it stands there");
        let report = examined(Checkpoint::digits(), &device, Precision::F32, |kernel| if kernel.name == name { mutant } else { kernel });
        let found = report.first_divergence().unwrap_or_else(|| panic!("{name} with {wrong_text}: nothing diverges"));
        assert_eq!((found.step.kernel, &found.step.label), (name, &right.tensors[first].step.label), "{wrong_text}");
        assert!(report.tensors.iter().all(|tensor| tensor.step.is_right() || tensor.step.kernel == name), "{name}: others are blamed");
        // Nothing before it is off by much, so that in all it is as wrong as by itself.
        assert!(found.apart.is_some_and(|apart| apart > found.step.bound), "{name}: {found:?}");
        broken_kernels += 1;
    }
    // Of layernorm and attention one variant each is taken.
    assert_eq!(broken_kernels, 5);
}

#[test]
fn a_broken_kernel_is_blamed_not_its_dependents() {
    let Some(device) = checked() else { return };
    for (name, right, wrong, others) in [
        ("max_pool", "y[i] = largest;", "y[i] = largest + 1.0;", "groupnorm_residual_relu"),
        ("matmul_64x64x16_split4", "n] = sum", "n] = 1.01 * sum", "matmul_combine"),
    ] {
        let mutant = broken(of_name(name), right, wrong).expect("it stands there");
        let reports =
            |filter| check_kernels(&device, filter, &|kernel| if kernel.name == name { mutant } else { kernel }, |_, _| ControlFlow::Continue(()));
        for report in reports(name).iter().filter(|report| report.kernel == name) {
            assert!(matches!(&report.outcome, Outcome::Wrong(text) if text.contains("instead of")), "{report:?}");
            assert!(report.error > report.bound && report.worst.starts_with(report.kernel), "{report:?}");
        }
        for report in reports(others).iter().filter(|report| report.kernel == others) {
            assert_eq!(report.outcome, Outcome::Misled(name), "{report:?}");
        }
    }
    let nonsense: &'static Kernel = Box::leak(Box::new(of_name("max_pool").edited("fn max_pool( {", &[])));
    let reports = check_kernels(&device, "groupnorm_residual", &|kernel| if kernel.name == "max_pool" { nonsense } else { kernel }, |_, _| {
        ControlFlow::Continue(())
    });
    assert!(reports.iter().all(|report| report.outcome == Outcome::Misled("max_pool")), "{reports:?}");
    let nonsense: &'static Kernel = Box::leak(Box::new(of_name("l2_normalize").edited("fn unit( {", &[])));
    let reports = check_kernels(&device, "l2_normalize", &|kernel| if kernel.name == "l2_normalize" { nonsense } else { kernel }, |_, _| {
        ControlFlow::Continue(())
    });
    assert!(reports.iter().any(|report| matches!(report.outcome, Outcome::Failed(_))), "{reports:?}");
}

#[test]
fn doctor_examines_texture_passes() {
    let Some(gpu) = gpu::device() else { return };
    let reports = check_kernels(&Device::from(gpu), "texture/", &|kernel| kernel, |_, _| ControlFlow::Continue(()));
    let found: Vec<_> = reports.iter().map(|report| (report.kernel, report.cases, &report.outcome)).collect();
    assert_eq!(found, [("texture/across, texture/down", 4, &Outcome::Right), ("texture/heat, texture/paint", 2, &Outcome::Right)]);
    assert!(reports.iter().all(|report| report.bound > 0.0 && report.error < report.bound), "{reports:?}");
    // The device places thousands of texels by arithmetic of its own: were all of them the host's to the bit, nothing would have been compared.
    assert!(reports[1].error > 0.0, "{reports:?}");
}

fn doctor(arguments: &[&str]) -> cli::Run {
    cli::vitraux(["doctor"].iter().chain(arguments).map(|argument| argument.as_ref()))
}

#[test]
fn doctor_command_names_only_the_broken_kernel() {
    if gpu::device().is_none() {
        return;
    }
    let right = doctor(&["--filter", "layernorm"]);
    assert_eq!((right.code, right.errors()), (0, Vec::new()), "{}", right.stdout);
    for expected in ["vitraux ", "device: ", "subgroups: ", "worst error", "layernorm_subgroup", " correct, 0 wrong"] {
        assert!(right.stdout.contains(expected), "{expected}: {}", right.stdout);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(path("shaders/layernorm.wgsl")).expect("a shader");
    std::fs::write(folder.path().join("layernorm.wgsl"), text.replace("variance + params.epsilon", "variance + 0.01")).expect("it is written");
    let shaders = folder.path().to_str().expect("UTF-8");
    let broken = doctor(&["--filter", "norm", "--shader-dir", shaders, "--model", path("examples/digits").to_str().expect("UTF-8")]);
    assert_eq!(broken.code, 1);
    assert!(broken.errors().len() == 1 && broken.errors()[0].contains("gives wrong results or fails: layernorm"), "{:?}", broken.errors());
    assert!(!broken.errors()[0].contains("groupnorm") && !broken.errors()[0].contains("qk_norm"), "{:?}", broken.errors());
    assert!(broken.stdout.contains("WRONG\n    layernorm "), "{}", broken.stdout);
    // An edited shader that is not checked is not right.
    let missed = doctor(&["--filter", "softmax", "--shader-dir", shaders]);
    assert!(missed.code == 1 && missed.errors()[0].contains("none of its kernels was checked"), "{}", missed.stderr);
    let json = doctor(&["--filter", "norm", "--shader-dir", shaders, "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((json.code, &value["wrong_kernels"], &value["ok"]), (1, &serde_json::json!(["layernorm"]), &false.into()));
    let rows = value["kernels"].as_array().expect("kernels");
    let wrong: Vec<_> = rows.iter().filter(|row| row["outcome"] == "wrong").map(|row| row["kernel"].as_str().expect("a name")).collect();
    assert_eq!(wrong, ["layernorm"]);
}

/// A folder with one of the shaders, edited.
fn edited(name: &str, edit: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(path("shaders").join(name)).expect("a shader");
    let file = folder.path().join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::write(file, edit(&text)).expect("it is written");
    folder
}

#[test]
fn doctor_writes_a_report_despite_broken_shaders() {
    if gpu::device().is_none() {
        return;
    }
    let json = |folder: &tempfile::TempDir, filter: &str| {
        let run = doctor(&["--shader-dir", folder.path().to_str().expect("UTF-8"), "--filter", filter, "--format", "json"]);
        (run.code, serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", run.stdout, run.stderr)))
    };
    // Who is misled names the one who misleads, whether that one was asked for or not.
    let (code, report) = json(&edited("image/max_pool.wgsl", |text| text.replace("y[i] = largest;", "y[i] = largest + 1.0;")), "groupnorm_residual");
    assert_eq!((code, &report["ok"], &report["wrong_kernels"]), (1, &false.into(), &serde_json::json!(["max_pool"])));
    // What lacks what is replaced in it, and what is no WGSL, is a kernel that fails.
    let attention = |text: &str| text.replace("#import attention/call", "#import nothing");
    for (kernel, name, edit) in [
        ("softmax", "softmax.wgsl", Box::new(|text: &str| text.replace("#import common/grid", "#import nothing")) as Box<dyn Fn(&str) -> String>),
        ("softmax", "softmax.wgsl", Box::new(|text: &str| text.replace("fn softmax(", "fn softmax({"))),
        ("attention_pool", "attention/pool.wgsl", Box::new(|text: &str| text.replace("const HEAD: u32", "const OTHER: u32"))),
        ("attention_tiled", "attention/tiled.wgsl", Box::new(attention)),
    ] {
        let (code, report) = json(&edited(name, edit), kernel);
        // Masked variants have the same shader.
        let mut variants: Vec<&str> = ALL.iter().map(|variant| variant.name).filter(|name| name.starts_with(kernel)).collect();
        let mut wrong: Vec<&str> = report["wrong_kernels"].as_array().expect("an array").iter().filter_map(|name| name.as_str()).collect();
        variants.sort_unstable();
        wrong.sort_unstable();
        assert_eq!((code, wrong), (1, variants), "{report}");
    }
    // A piece that many import, without the files that import it.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("common")).expect("a folder");
    let text = std::fs::read_to_string(path("shaders/common/reduce.wgsl")).expect("a shader");
    std::fs::write(folder.path().join("common/reduce.wgsl"), text.replace("half > 0u", "half > 1u")).expect("it is written");
    assert_eq!(json(&folder, "l2_normalize").1["wrong_kernels"], serde_json::json!(["l2_normalize"]));
    // The model cannot be run then; its part of the report says so.
    let folder = edited("softmax.wgsl", |text| text.replace("fn softmax(", "fn softmax({"));
    let shaders = folder.path().to_str().expect("UTF-8");
    let digits = path("examples/digits");
    let arguments = ["--shader-dir", shaders, "--filter", "softmax", "--model", digits.to_str().expect("UTF-8")];
    let run = doctor(&[&arguments[..], &["--format", "json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert!(report["model"]["error"].as_str().is_some_and(|error| error.contains("softmax")), "{report}");
    assert!(run.errors()[0].contains("gives wrong results or fails: softmax;"), "{:?}", run.errors());
    // Both are at fault: neither hides behind the other.
    let folder = edited("image/max_pool.wgsl", |text| text.replace("y[i] = largest;", "y[i] = largest + 1.0;"));
    let text = std::fs::read_to_string(path("shaders/image/groupnorm.wgsl")).expect("a shader");
    std::fs::write(folder.path().join("image/groupnorm.wgsl"), text.replace("+ params.epsilon", "+ 0.5")).expect("written");
    assert_eq!(json(&folder, "groupnorm_residual").1["wrong_kernels"], serde_json::json!(["groupnorm_residual_relu"]));
}

#[test]
fn unrounded_quantisation_is_detected() {
    let Some(device) = checked() else { return };
    let mutant = broken(of_name("quantise"), "round(x[from_x + k] / scale)", "x[from_x + k] / scale").expect("it stands there");
    let exchange = |kernel: &'static Kernel| if kernel.name == "quantise" { mutant } else { kernel };
    let reports = check_kernels(&device, "quantise", &exchange, |_, _| ControlFlow::Continue(()));
    assert!(matches!(reports[0].outcome, Outcome::Wrong(_)), "{reports:?}");
    let report = examined(Checkpoint::digits(), &device, Precision::Int8, exchange);
    assert_eq!(report.first_divergence().map(|tensor| tensor.step.kernel), Some("quantise"));
}

#[test]
fn doctor_examines_cpu_twins_and_refuses_invalid_options() {
    let twins = doctor(&["--device", "cpu", "--filter", "attention"]);
    assert_eq!((twins.code, twins.errors()), (0, Vec::new()));
    assert!(twins.stdout.contains("attention_coop16_64x32") && !twins.stdout.contains(" - "), "the CPU runs everything: {}", twins.stdout);
    let digits = path("examples/digits");
    for (arguments, expected) in [
        (vec!["--device", "cpu", "--model", digits.to_str().expect("UTF-8")], "expected a GPU"),
        (vec!["--device", "cpu", "--filter", "nonsense"], "no kernel name contains this"),
        (vec!["--device", "cpu", "--shader-dir", "shaders"], "the CPU runs no shaders"),
        (vec!["--device", "cpu", "--precision", "int8"], "expected a model to check"),
        (vec!["--shader-dir", "missing"], "expected a folder"),
        (vec!["--shader-dir", "src"], "expected shaders named like vitraux's own"),
    ] {
        let run = doctor(&arguments);
        assert_eq!(run.code, 1, "{arguments:?}");
        assert!(run.errors().iter().any(|error| error.contains(expected)), "{arguments:?}: {:?}", run.errors());
    }
}

/// K of 192 is cut into slices of whole tiles of 32: the twin has the same slices, or each partial sum would be wrong.
#[test]
fn split_k_partial_sums_match_the_cpu_twin() {
    let Some(gpu) = gpu::device() else { return };
    let variant = "matmul_32x32x32_split4";
    let capabilities = gpu.summary().capabilities;
    let key = |[n, k]: [usize; 2]| TuningKey::product([65, n, k], [Precision::F32; 2], &capabilities).to_string();
    let found = serde_json::json!({ "variant": variant, "milliseconds": { variant: 1.0 } });
    let keys: serde_json::Map<_, _> = [[192, 48], [48, 192]].map(|sizes| (key(sizes), found.clone())).into_iter().collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("table.json");
    std::fs::write(&file, serde_json::json!({ "vitraux": "", "adapter": "", "keys": keys }).to_string()).expect("it is written");
    let checkpoint = Checkpoint::open(path("tests/fixtures/cases/timm_vit_tiny")).expect("a checkpoint");
    let size = checkpoint.config().native_size();
    let builder = Model::builder(checkpoint).device(Device::from(gpu)).tuning(Tuning::open(&file).expect("a table"));
    let report = check_model(builder, size, &|kernel| kernel).expect("it is examined");
    assert!(report.tensors.iter().filter(|tensor| tensor.step.kernel == variant).count() >= 4, "{report:?}");
    assert!(report.first_divergence().is_none(), "{:?}", report.first_divergence());
}
