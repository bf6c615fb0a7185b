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
    for command in [&["embed"][..], &["similar", "--pairs"], &["fit", "-o", "head.safetensors"], &["attention", "-o", "maps"], &["tokenize"]] {
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
        (&["classify", "https://example.org/cat.jpg"], "found a URL; give the path of a file"),
        (&["classify", "-o", "x.npy", &image], "npy is for `vitraux embed`"),
        (&["classify", "--image-size", "224", &image], "the built-in model has one size"),
        (&["classify", "--head", &model, &image], "is it a whole model?"),
        (&["classify", "--model", text(&unclassed), &image], "`vitraux fit` trains a classifier"),
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
    assert!(first.contains("skipped: 1 with .txt") && first.contains("2 images done, 1 failed"), "{first}");
    assert!(embed(&["--resume"]).contains("0 images done, 2 skipped as already done, 1 failed"));
    std::fs::remove_file(folder.path().join("c.png")).expect("it is there");
    assert!(embed(&["--resume"]).contains("nothing to do: 2 images already done"));
}

#[test]
fn numbers_out_of_range_and_forgotten_commands_get_advice() {
    let image = sample();
    let cases: [(&[&str], &str); 8] = [
        (&["classify", "-n", "0", &image], "expected a number of at least 1"),
        (&["classify", "-n", "-3", &image], "expected a number of at least 1"),
        (&["embed", "--layer", "last", &image], "expected the number of a block, counted from 0"),
        (&["attention", "-o", "maps", "--query", "-3,4", &image], "expected the column and row of a pixel"),
        (&["bench", "model", "--batch", "1,x"], "expected a number from 1 to 65536"),
        (&["fit", "-o", "head.safetensors", "--hold-out", "-0.5", &image], "expected a fraction below 1"),
        (&["classify", "--image-size", "0", &image], "expected a number of pixels"),
        (&[&image], "try `vitraux classify"),
    ];
    for (arguments, words) in cases {
        let run = crate::support::cli::vitraux(arguments.iter().map(AsRef::as_ref));
        assert!(run.code == 2 && run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn options_without_effect_and_empty_variables_are_noticed() {
    let run = |arguments: &[&str]| {
        let mut command = program();
        command.env("VITRAUX_DEVICE", "cpu").args(["classify"]).args(arguments).arg(sample());
        run(command)
    };
    let checked = run(&["--checked"]);
    assert!(checked.code == 0 && checked.stderr.contains("warning: --checked has no effect on the CPU"), "{}", checked.stderr);
    let table = run(&["--tuning", "no/such/table.json"]);
    assert!(table.code == 1 && table.errors()[0].contains("no/such/table.json: no such file or folder"), "{}", table.stderr);
    if crate::support::gpu::device().is_some() {
        let tuned = crate::support::cli::vitraux(["tune", "--device", "gpu", "--checked"].map(std::ffi::OsStr::new));
        assert!(tuned.code == 1 && tuned.errors()[0].contains("tune without it"), "{}", tuned.stderr);
    }
    let mut command = program();
    command.env("VITRAUX_DEVICE", "").args(["classify", &sample()]);
    let unset = crate::support::cli::run(command);
    assert_eq!(unset.code, 0, "{}", unset.stderr);
}

#[test]
fn larger_images_need_a_larger_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.png");
    image::RgbImage::new(1000, 700).save(&file).expect("it is written");
    let classify =
        |limit: &str| crate::support::cli::vitraux(["classify", "--device", "cpu", "--max-image-memory", limit, text(&file)].map(AsRef::as_ref));
    let small = classify("2");
    assert!(small.code == 1 && small.errors()[0].contains("take 3 MiB of memory, and the limit is 2 MiB"), "{}", small.stderr);
    assert_eq!(classify("3").code, 0);
    // 200 megabytes of nothing in a file of 200 kilobytes are a bomb, unless somebody wants them.
    image::GrayImage::new(16_000, 12_500).save(&file).expect("it is written");
    let bomb = crate::support::cli::vitraux(["classify", "--device", "cpu", text(&file)].map(AsRef::as_ref));
    assert!(bomb.code == 1 && bomb.errors()[0].contains("--max-image-memory"), "{}", bomb.stderr);
    assert!(bomb.peak_memory.is_none_or(|bytes| bytes < 64 << 20), "{:?}", bomb.peak_memory);
    assert_eq!(["190", "191"].map(|limit| classify(limit).code), [1, 0]);
}

#[test]
fn json_numbers_have_no_digits_of_binary_fractions() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("vectors.jsonl");
    let calls = [&["classify", "--format", "json"][..], &["embed", "-o", text(&output)], &["bench", "model", "--runs", "2", "--format", "json"]];
    for call in calls {
        let images = if call[0] == "bench" { Vec::new() } else { vec![sample()] };
        let run =
            crate::support::cli::vitraux(call.iter().copied().chain(images.iter().map(String::as_str)).chain(["--device", "cpu"]).map(AsRef::as_ref));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let json = if call[0] == "embed" { std::fs::read_to_string(&output).expect("text") } else { run.stdout };
        let longest = json.split(|c: char| !c.is_ascii_digit() && c != '.').map(|number| number.replace('.', "").trim_matches('0').len()).max();
        assert!(longest.is_some_and(|digits| digits <= 12), "{longest:?}: {json}");
    }
}
