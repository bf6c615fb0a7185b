//! Folders of images through the program: order, failures, runs that are cut and go on, memory.

use crate::support::cli::{Run, run};
use crate::support::path;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder with images of digits under numbered names, of which some are broken: every `broken`-th.
fn folder(count: usize, broken: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = ["handwritten-3.png", "printed-9.png"].map(|name| std::fs::read(path("examples/digits/samples").join(name)).expect("a sample"));
    for number in 0..count {
        let is_broken = number % broken == broken - 1;
        let bytes = if is_broken { &samples[0][..60] } else { &samples[number % 2] };
        let file = folder.path().join(format!("{:02}/{number:05}.png", number % 7));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, bytes).expect("it is written");
    }
    folder
}

fn program(arguments: &[&str]) -> Command {
    let mut command = crate::support::cli::program();
    command.args(["classify", "--device", "cpu", "--top", "1"]).args(arguments);
    command
}

fn classify(arguments: &[&str]) -> Run {
    run(program(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

/// The numbers in the names of images, and what was seen in them, of lines of JSON.
fn seen(lines: &str) -> Vec<(usize, u64)> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let name = Path::new(value["image"].as_str().expect("a path")).file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        (name.parse().expect("a number"), value["top"][0]["index"].as_u64().expect("a class"))
    };
    lines.lines().map(line).collect()
}

/// Content of an image of [`folder`].
fn digit(number: usize) -> u64 {
    [3, 9][number % 2]
}

/// However the file is spelled.
#[test]
fn output_never_overwrites_an_input_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = std::fs::read(crate::support::path("examples/digits/samples/printed-2.png")).expect("an image");
    for class in ["a", "b"] {
        std::fs::create_dir(folder.path().join(class)).expect("a folder");
        std::fs::write(folder.path().join(class).join("1.png"), &sample).expect("it is written");
    }
    let absolute = folder.path().join("a/1.png");
    let absolute = absolute.to_str().expect("UTF-8");
    for arguments in [
        vec!["classify", "--format", "csv", "--output", "./a/../a/1.png", "a"],
        vec!["classify", "--format", "json", "--resume", "--output", absolute, "a"],
        vec!["embed", "--format", "npy", "--output", absolute, "a"],
        vec!["embed", "--format", "csv", "--output", "a/../a/1.png", "a"],
    ] {
        let mut command = crate::support::cli::program();
        command.args(&arguments).current_dir(folder.path()).env("VITRAUX_DEVICE", "cpu");
        let run = crate::support::cli::run(command);
        assert!(run.code == 1 && run.errors()[0].contains("would overwrite the input"), "{arguments:?}: {}", run.stderr);
        assert_eq!(std::fs::read(absolute).expect("an image"), sample, "{arguments:?}");
    }
}

#[test]
fn folder_is_processed_in_order_naming_broken_images() {
    let images = folder(40, 13);
    for batch in ["auto", "1", "5"] {
        let all = classify(&["--format", "json", "--batch", batch, text(images.path())]);
        assert_eq!(all.code, 1, "{}", all.stderr);
        let seen = seen(&all.stdout);
        let mut expected: Vec<usize> = (0..40).filter(|number| number % 13 != 12).collect();
        expected.sort_by_key(|number| (number % 7, *number));
        assert_eq!(seen, expected.into_iter().map(|number| (number, digit(number))).collect::<Vec<_>>());
        let errors = all.errors();
        assert_eq!(errors.len(), 4, "{}", all.stderr);
        for name in ["00012.png", "00025.png", "00038.png"] {
            assert_eq!(errors.iter().filter(|line| line.contains(name)).count(), 1, "{name}: {errors:?}");
        }
        assert_eq!(errors[3], "error: 3 of 40 images failed");
    }
    let strict = classify(&["--format", "json", "--strict", text(images.path())]);
    assert_eq!((strict.code, strict.errors().len()), (1, 1), "{}", strict.stderr);
    assert!(seen(&strict.stdout).len() < 37);
}

#[test]
fn globs_lists_and_filters_select_images() {
    let images = folder(21, 100);
    let at = |within: &str| images.path().join(within).to_str().expect("UTF-8").to_owned();
    let count = |arguments: &[&str]| {
        let run = classify(&[&["--format", "json"], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        seen(&run.stdout).len()
    };
    assert_eq!(count(&[&at("0[01]/*.png")]), 6);
    assert_eq!(count(&[&at("02"), &at("02/00002.png"), &at("03")]), 6);
    assert_eq!(count(&["--glob", "0000*.png", &at("")]), 10);
    assert_eq!(count(&["--glob", "!05/**", &at("")]), 18);
    let mut child =
        program(&["--format", "json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    writeln!(child.stdin.take().expect("piped"), "{}\n\n{}", at("01/00001.png"), at("00/00000.png")).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(seen(&String::from_utf8(output.stdout).expect("UTF-8")), [(1, 9), (0, 3)]);
    let none = classify(&[&at("*.tiff")]);
    assert_eq!(none.code, 1);
    assert!(none.errors()[0].contains("found none"), "{}", none.stderr);
}

/// Killed again and again at some moment, and resumed: each image has its line once, whole.
#[test]
fn killed_run_resumes_without_duplicate_lines() {
    let (count, broken) = (3000, 150);
    let images = folder(count, broken);
    let output = images.path().join("answers");
    for format in ["json", "csv"] {
        let arguments = ["--format", format, "--output", text(&output), "--resume", text(images.path())];
        let _ = std::fs::remove_file(&output);
        for milliseconds in [250, 400, 600] {
            let mut child = program(&arguments).stderr(Stdio::null()).spawn().expect("it starts");
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            child.kill().expect("it is killed");
            child.wait().expect("it ends");
            // As a machine that loses power may leave it.
            if let Ok(text) = std::fs::read(&output) {
                std::fs::write(&output, &text[..text.len().saturating_sub(7)]).expect("it is cut");
            }
        }
        let rest = run(program(&arguments));
        assert_eq!(rest.code, 1, "{}", rest.stderr);
        assert_eq!(rest.errors().len(), count / broken + 1, "each broken image is named once, and their number");
        let text = std::fs::read_to_string(&output).expect("text");
        let mut found: BTreeMap<usize, u64> = BTreeMap::new();
        let lines = if format == "json" { seen(&text) } else { rows(&text) };
        for (number, digit) in lines {
            assert_eq!(found.insert(number, digit), None, "{number} has two lines");
        }
        let expected = (0..count).filter(|number| number % broken != broken - 1).map(|number| (number, digit(number)));
        assert_eq!(found, expected.collect());
        let again = run(program(&arguments));
        assert_eq!((again.code, again.errors().len()), (1, count / broken + 1), "only the broken ones are tried again");
        assert_eq!(std::fs::read_to_string(&output).expect("text"), text);
    }
    // A file of another format is not touched.
    let other = classify(&["--format", "json", "--output", text(&output), "--resume", text(images.path())]);
    assert_eq!(other.code, 1);
    assert!(other.errors()[0].contains("line 1 is not from an earlier run"), "{}", other.stderr);
    let over = images.path().join("00/00000.png");
    let own = classify(&["--output", text(&over), text(images.path())]);
    assert!(own.code == 1 && own.errors()[0].contains("expected .json, .jsonl, .csv, .txt or --format, found .png"), "{}", own.stderr);
    assert_eq!(classify(&["--resume", text(images.path())]).code, 2);
    assert!(classify(&["--output", text(&output), "--resume", text(images.path())]).errors()[0].contains("--format json or csv"));
}

fn rows(text: &str) -> Vec<(usize, u64)> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("a head").clone();
    assert_eq!(columns.iter().collect::<Vec<_>>(), ["image", "label1", "index1", "probability1", "logit1"]);
    let row = |row: csv::Result<csv::StringRecord>| {
        let row = row.expect("a row");
        let name = Path::new(&row[0]).file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        (name.parse().expect("a number"), row[2].parse().expect("a class"))
    };
    reader.records().map(row).collect()
}

/// An interrupt ends a run behind its batch, with whole lines and the exit code that shells expect.
#[cfg(unix)]
#[test]
fn interrupt_leaves_only_complete_lines() {
    let images = folder(3000, 10_000);
    let output = images.path().join("answers.json");
    let mut child = program(&["--format", "json", "--output", text(&output), text(images.path())]).stderr(Stdio::piped()).spawn().expect("it starts");
    while std::fs::metadata(&output).map_or(0, |file| file.len()) == 0 {
        assert!(child.try_wait().expect("it runs").is_none(), "it has ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("a signal");
    assert!(signal.success());
    let ended = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{errors}");
    assert!(errors.contains("interrupted after"), "{errors}");
    let lines = seen(&std::fs::read_to_string(&output).expect("text"));
    assert!(!lines.is_empty() && lines.len() < 3000);
}

#[test]
fn memory_does_not_grow_with_image_count() {
    let [few, many] = [200, 4000].map(|count| {
        let images = folder(count, 10_000);
        let run = classify(&["--format", "json", "--batch", "16", text(images.path())]);
        assert_eq!((run.code, run.stdout.lines().count()), (0, count), "{}", run.stderr);
        run.peak_memory
    });
    if let (Some(few), Some(many)) = (few, many) {
        println!("{few} bytes for 200 images, {many} for 4000");
        assert!(many < few + (4 << 20), "{few} bytes for 200 images, {many} for 4000");
    }
}
