//! Classifiers from folders of images.

use crate::support::cli::{Run, vitraux};
use crate::support::path;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

fn run(arguments: &[&str]) -> Run {
    vitraux(arguments.iter().map(OsStr::new))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

/// Two classes, of which each has ten copies of one image: nothing is easier.
fn examples() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (class, sample) in [("three", "handwritten-3.png"), ("nine", "printed-9.png")] {
        std::fs::create_dir_all(folder.path().join(class)).expect("a folder");
        for number in 0..10 {
            std::fs::copy(path("examples/digits/samples").join(sample), folder.path().join(class).join(format!("{number}.png"))).expect("a copy");
        }
    }
    folder
}

#[test]
fn fitted_head_is_usable_by_classify() {
    let (examples, folder) = (examples(), tempfile::tempdir().expect("a folder"));
    let head = folder.path().join("head.safetensors");
    let fit = |more: &[&str]| run(&[&["fit", "--device", "cpu", "--output", text(&head), text(examples.path())], more].concat());
    let fitted = fit(&["--format", "json"]);
    assert_eq!(fitted.code, 0, "{}", fitted.stderr);
    let report: Value = serde_json::from_str(&fitted.stdout).expect("JSON");
    assert_eq!((&report["trained"], &report["held_out"], &report["right"], &report["accuracy"]), (&16.into(), &4.into(), &4.into(), &1.0.into()));
    assert_eq!(report["labels"], serde_json::json!(["nine", "three"]));
    assert_eq!(report["confusion"], serde_json::json!([[2, 0], [0, 2]]));
    let image = path("examples/digits/samples/handwritten-3.png");
    let classified = run(&["classify", "--device", "cpu", "--top", "1", "--head", text(&head), text(&image)]);
    assert!(classified.stdout.trim_end().ends_with("three"), "{}", classified.stdout);
    let said = fit(&["--hold-out", "5"]);
    assert!(said.stdout.contains("held out: 10 of 10 correct, 100.0 %") && said.stdout.contains("three"), "{}", said.stdout);
    assert!(fit(&["--hold-out", "0"]).stdout.starts_with("20 images of 2 classes"));
    // A broken image is named and counted, and the rest is fitted.
    std::fs::write(examples.path().join("nine/broken.png"), "no image").expect("it is written");
    let broken = fit(&["--format", "json"]);
    assert_eq!((broken.code, broken.errors().len()), (1, 2), "{}", broken.stderr);
    assert!(broken.stdout.contains("\"trained\":16"), "{}", broken.stdout);
}

#[test]
fn invalid_fit_requests_are_refused() {
    let (examples, folder) = (examples(), tempfile::tempdir().expect("a folder"));
    let head = folder.path().join("head.safetensors");
    let refused = |arguments: &[&str], words: &str| {
        let run = run(&[&["fit", "--device", "cpu", "--output", text(&head)], arguments].concat());
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains(words), "{}", run.stderr);
        assert!(!head.exists());
    };
    refused(&[text(&examples.path().join("nine"))], "a folder of images for each of two or more classes, found only nine");
    // Which folders are those of the classes?
    let nested = tempfile::tempdir().expect("a folder");
    for folder in ["cat/in", "cat/out", "dog/in", "dog/out"] {
        std::fs::create_dir_all(nested.path().join(folder)).expect("a folder");
        std::fs::copy(path("examples/digits/samples/printed-9.png"), nested.path().join(folder).join("9.png")).expect("a copy");
    }
    refused(&[text(nested.path())], "the same name");
    refused(&[text(&nested.path().join("cat")), text(nested.path())], "the same name");
    std::fs::copy(path("examples/digits/samples/printed-9.png"), nested.path().join("cat/9.png")).expect("a copy");
    refused(&[text(nested.path())], "found images in");
    refused(&[&format!("{}/**/*.png", text(nested.path()))], "found images in");
    refused(&["--ridge=-1", text(examples.path())], "--ridge");
    refused(&["--ridge", "0", text(examples.path())], "a larger --ridge");
}

/// Folders that a path does not name have names all the same, and those of several arguments may have the same.
#[test]
fn classes_are_named_after_the_folders_of_images() {
    let (examples, more, folder) = (examples(), examples(), tempfile::tempdir().expect("a folder"));
    let head = folder.path().join("head.safetensors");
    let arguments = ["fit", "--device", "cpu", "--format", "json", "--output", text(&head), ".", "../nine", text(more.path())];
    let output = crate::support::cli::program().args(arguments).current_dir(examples.path().join("three")).output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&report["labels"], &report["trained"]), (&serde_json::json!(["nine", "three"]), &32.into()));
}
