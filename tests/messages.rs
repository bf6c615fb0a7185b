//! First steps of a new user: defaults, short options, and messages that say what to do.

use crate::support::cli::{Run, program, run};
use crate::support::path;
use std::path::Path;
use std::process::Stdio;

fn sample() -> String {
    text(&path("examples/digits/samples/handwritten-3.png")).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

/// Runs the program on the CPU, without a model from the environment, in a configuration folder.
fn without_model(config: &Path, arguments: &[&str]) -> Run {
    let mut command = program();
    command.env_remove("VITRAUX_MODEL").env("VITRAUX_DEVICE", "cpu").env("XDG_CONFIG_HOME", config).args(arguments);
    run(command)
}

#[test]
fn built_in_model_says_what_it_is_and_other_commands_ask_for_a_model() {
    let config = tempfile::tempdir().expect("a folder");
    let said = without_model(config.path(), &["classify", "-n", "1", &sample()]);
    assert!(said.code == 0 && said.stderr.contains("model: built-in, reads one handwritten or printed digit"), "{}", said.stderr);
    assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    let chosen = without_model(config.path(), &["classify", "-m", "digits", &sample()]);
    assert!(chosen.code == 0 && !chosen.stderr.contains("built-in"), "{}", chosen.stderr);
    for command in [&["embed"][..], &["similar", "--pairs"], &["fit", "-o", "head.safetensors"], &["attention", "-o", "maps"]] {
        let asked = without_model(config.path(), &[command, &[&sample()]].concat());
        assert!(asked.code == 1 && asked.errors().len() == 1, "{}", asked.stderr);
        let words = [command[0], "needs a model", "--model", "VITRAUX_MODEL", "config.toml", "vitraux models"];
        assert!(words.iter().all(|word| asked.stderr.contains(word)), "{}", asked.stderr);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn model_comes_from_options_environment_and_settings_in_this_order() {
    let config = tempfile::tempdir().expect("a folder");
    let settings = config.path().join("vitraux/config.toml");
    std::fs::create_dir(config.path().join("vitraux")).expect("a folder");
    let model = path("tests/fixtures/cases/timm_vit_tiny");
    std::fs::write(&settings, format!("model = {:?}\n", text(&model))).expect("it is written");
    let name = |run: &Run| run.stdout.lines().next().unwrap_or_default().to_owned();
    let from_settings = without_model(config.path(), &["inspect"]);
    assert!(name(&from_settings).contains("vit_tiny"), "{} {}", from_settings.stdout, from_settings.stderr);
    let mut command = program();
    command.env("XDG_CONFIG_HOME", config.path()).arg("inspect");
    assert!(!name(&run(command)).contains("timm_vit_tiny"), "the environment comes first");
    for model in [&["digits"][..], &["-m", "digits"]] {
        let given = without_model(config.path(), &[&["inspect"], model].concat());
        assert_eq!(name(&given), name(&without_model(config.path(), &["inspect", "--model", "digits"])));
    }
    std::fs::write(&settings, "modle = 1\n").expect("it is written");
    let wrong = without_model(config.path(), &["inspect"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("config.toml") && wrong.stderr.contains("modle"), "{}", wrong.stderr);
}

#[test]
fn weights_file_stands_for_its_folder() {
    let model = path("tests/fixtures/cases/timm_vit_tiny");
    let inspected = |model: &Path| crate::support::cli::vitraux(["inspect".as_ref(), model.as_os_str()]);
    let (folder, file) = (inspected(&model), inspected(&model.join("model.safetensors")));
    assert_eq!((folder.code, &folder.stdout), (0, &file.stdout), "{}", file.stderr);
}

#[test]
fn mistakes_are_answered_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, output) = (sample(), text(&folder.path().join("out.safetensors")).to_owned());
    let unclassed = path("tests/fixtures/cases/hf_dinov2_registers");
    let map = text(&folder.path().join("map.png")).to_owned();
    let samples = text(&path("examples/digits/samples")).to_owned();
    let model = text(&path("examples/digits/model.safetensors")).to_owned();
    let cases: [(&[&str], &str); 10] = [
        (&["classify", "https://example.org/cat.jpg"], "found a URL; download it first"),
        (&["classify", "-o", "x.npy", &image], "npy is for `vitraux embed`"),
        (&["classify", "--image-size", "224", &image], "the built-in model has one size"),
        (&["classify", "--head", &model, &image], "is it a whole model?"),
        (&["classify", "--model", text(&unclassed), &image], "`vitraux fit` makes a classifier"),
        (&["forward", "--input", &image, "-o", &output], "`vitraux preprocess` turns it into pixel_values"),
        (&["similar", "--pairs", &image], "nothing to compare"),
        (&["similar", "--to", &image, &image], "nothing to compare"),
        (&["attention", "-o", &map, &samples], "expected a folder for more than one map"),
        (&["tune", "--show"], "tuning needs a GPU"),
    ];
    for (arguments, words) in cases {
        let mut command = program();
        command.env("VITRAUX_DEVICE", "cpu").args(arguments);
        let run = run(command);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains(words), "{arguments:?}: {}", run.stderr);
    }
    let one = crate::support::cli::vitraux(["attention", "--device", "cpu", "-o", &map, &image].map(AsRef::as_ref));
    assert!(one.code == 0 && Path::new(&map).is_file(), "{}", one.stderr);
}

#[test]
fn lists_may_end_paths_by_nul() {
    let mut command = program();
    command.args(["classify", "--device", "cpu", "--format", "csv", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), format!("{}\0", sample()).as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
}

#[test]
fn runs_end_with_a_summary() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.png", "b.png"] {
        std::fs::copy(sample(), folder.path().join(name)).expect("a copy");
    }
    std::fs::write(folder.path().join("notes.TXT"), "").expect("it is written");
    std::fs::write(folder.path().join("c.png"), "").expect("it is written");
    let output = folder.path().join("out.jsonl");
    let embed = |more: &[&str]| {
        let arguments = [&["embed", "--device", "cpu", "-o", text(&output), text(folder.path())], more].concat();
        crate::support::cli::vitraux(arguments.into_iter().map(AsRef::as_ref)).stderr
    };
    let first = embed(&[]);
    assert!(first.contains("skipped files of other formats: 1 with .txt") && first.contains("2 images done, 1 failed"), "{first}");
    assert!(embed(&["--resume"]).contains("0 images done, 2 skipped as already done, 1 failed"));
    std::fs::remove_file(folder.path().join("c.png")).expect("it is there");
    assert!(embed(&["--resume"]).contains("nothing to do: 2 images already done"));
}

#[test]
fn outputs_never_replace_inputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    for name in ["photo.png", "other.png"] {
        std::fs::copy(sample(), at(name)).expect("a copy");
    }
    std::fs::hard_link(at("photo.png"), at("link.safetensors")).expect("a link");
    std::fs::create_dir(at("model")).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(path("examples/digits").join(name), Path::new(&at("model")).join(name)).expect("a copy");
    }
    let run = |arguments: &[&str]| crate::support::cli::vitraux(arguments.iter().map(AsRef::as_ref));
    let (photo, model, weights) = (at("photo.png"), at("model"), at("model/model.safetensors"));
    assert_eq!(run(&["preprocess", "-o", &at("pixels.safetensors"), &photo]).code, 0);
    let before = |name: &str| std::fs::read(at(name)).expect("it is there");
    let kept = ["photo.png", "other.png", "model/model.safetensors", "pixels.safetensors"].map(|name| (name, before(name)));
    let cases: [&[&str]; 8] = [
        &["preprocess", "-o", &photo, &photo],
        &["preprocess", "-o", &at("link.safetensors"), &photo],
        &["preprocess", "-m", &model, "-o", &weights, &photo],
        &["forward", "--device", "cpu", "--input", &at("pixels.safetensors"), "-o", &at("pixels.safetensors")],
        &["embed", "--device", "cpu", "-m", &model, "-o", &weights, &photo],
        &["fit", "--device", "cpu", "-m", &weights, "-o", &weights, &photo],
        &["classify", "--device", "cpu", "-o", &at("other.png"), &photo],
        &["similar", "--device", "cpu", "-m", &model, "--index", &weights, "--pairs", &photo, &at("other.png")],
    ];
    for arguments in cases {
        let run = run(arguments);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains("choose another file"), "{arguments:?}: {}", run.stderr);
    }
    for output in [photo.clone(), text(&folder.path().join("model/../photo.png")).to_owned()] {
        let over = run(&["attention", "--device", "cpu", "-o", &output, &photo]);
        assert!(over.code == 1 && over.errors()[0].contains("overwrite"), "{}", over.stderr);
    }
    assert!(kept.iter().all(|(name, bytes)| *bytes == before(name)));
}
