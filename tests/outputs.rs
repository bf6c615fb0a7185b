//! Outputs: nothing is lost, whatever they are called, wherever they lead, and whoever else writes.

use crate::support::cli::{Run, program};
use crate::support::path;
use std::path::Path;

fn sample() -> String {
    text(&path("examples/digits/samples/handwritten-3.png")).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

fn run(arguments: &[&str]) -> Run {
    let mut command = program();
    command.env("VITRAUX_DEVICE", "cpu").args(arguments);
    crate::support::cli::run(command)
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
    let (photo, model, weights) = (at("photo.png"), at("model"), at("model/model.safetensors"));
    assert_eq!(run(&["preprocess", "-o", &at("pixels.safetensors"), &photo]).code, 0);
    let before = |name: &str| std::fs::read(at(name)).expect("it is there");
    let kept = ["photo.png", "other.png", "model/model.safetensors", "pixels.safetensors"].map(|name| (name, before(name)));
    let (other, found) = ("choose another file", "found .png");
    std::fs::copy(&weights, at("head.csv")).expect("a copy");
    std::fs::write(at("table.json"), "{}").expect("it is written");
    let cases: [(&[&str], &str); 13] = [
        (&["classify", "--device", "cpu", "--head", &at("head.csv"), "-o", &at("head.csv"), &photo], "is it a whole model?"),
        (&["classify", "--device", "cpu", "--tuning", &at("table.json"), "-o", &at("table.json"), &photo], other),
        (&["tune", "--device", "cpu", "-m", &model, "-o", &at("model/config.json")], other),
        (&["preprocess", "-o", &photo, &photo], found),
        (&["preprocess", "-o", &at("link.safetensors"), &photo], other),
        (&["preprocess", "-m", &model, "-o", &weights, &photo], other),
        (&["forward", "--device", "cpu", "--input", &at("pixels.safetensors"), "-o", &at("pixels.safetensors")], other),
        (&["embed", "--device", "cpu", "-m", &model, "-o", &weights, &photo], other),
        (&["embed", "--device", "cpu", "-m", &model, "-o", &photo, &photo], found),
        (&["fit", "--device", "cpu", "-m", &weights, "-o", &weights, &photo], other),
        (&["classify", "--device", "cpu", "-o", &at("other.png"), &photo], found),
        (&["classify", "--device", "cpu", "--format", "csv", "-o", &at("other.png"), &photo], other),
        (&["similar", "--device", "cpu", "-m", &model, "--index", &weights, "--pairs", &photo, &at("other.png")], other),
    ];
    for (arguments, words) in cases {
        let run = run(arguments);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains(words), "{arguments:?}: {}", run.stderr);
    }
    for output in [photo.clone(), text(&folder.path().join("model/../photo.png")).to_owned()] {
        let over = run(&["attention", "--device", "cpu", "-o", &output, &photo]);
        assert!(over.code == 1 && over.errors()[0].contains("overwrite"), "{}", over.stderr);
    }
    assert!(kept.iter().all(|(name, bytes)| *bytes == before(name)));
}

#[test]
fn strict_runs_keep_the_old_output_until_an_image_succeeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (output, broken) = (folder.path().join("answers.csv"), folder.path().join("broken.png"));
    std::fs::write(&broken, "no image").expect("it is written");
    std::fs::write(&output, "precious").expect("it is written");
    let arguments = ["classify", "--device", "cpu", "--strict", "-o", text(&output), text(&broken), &sample()];
    let run = crate::support::cli::vitraux(arguments.map(AsRef::as_ref));
    assert!(run.code == 1 && std::fs::read(&output).expect("it is there") == b"precious", "{}", run.stderr);
    let run = crate::support::cli::vitraux(arguments.map(AsRef::as_ref).into_iter().filter(|argument| *argument != broken.as_os_str()));
    assert!(run.code == 0 && std::fs::read_to_string(&output).expect("it is there").starts_with("image,label1"), "{}", run.stderr);
}

/// Calls that write a file each, with the name that it has in the end.
fn writers() -> Vec<(Vec<String>, &'static str)> {
    let (image, classes) = (sample(), text(&path("examples/digits/samples")).to_owned());
    let calls = [
        (format!("classify {image} -o"), "out.jsonl"),
        (format!("embed {image} -o"), "out.csv"),
        (format!("preprocess {image} -o"), "out.safetensors"),
        (format!("attention {image} -o"), "out.png"),
        (format!("fit --hold-out 0 {classes} {} -o", text(&path("tests/fixtures/bad/base"))), "out.safetensors"),
    ];
    calls.map(|(call, name)| (call.split(' ').map(str::to_owned).collect(), name)).into()
}

#[test]
#[cfg(target_os = "linux")]
fn full_disks_are_reported_by_every_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    for (call, name) in writers() {
        let output = folder.path().join(name);
        std::os::unix::fs::symlink("/dev/full", &output).expect("a link");
        let arguments: Vec<&str> = call.iter().map(String::as_str).chain([text(&output)]).collect();
        let full = run(&arguments);
        assert!(full.code == 1 && full.errors()[0].contains("No space left on device"), "{arguments:?}: {}", full.stderr);
        assert!(full.errors()[0].contains(text(&output)), "{arguments:?} does not name the file: {}", full.stderr);
        assert!(output.is_symlink() && !Path::new("/dev/full").is_file());
        std::fs::remove_file(&output).expect("it is there");
        assert_eq!(run(&arguments).code, 0, "{arguments:?}");
        assert!(std::fs::metadata(&output).is_ok_and(|metadata| metadata.len() > 0));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "{arguments:?} left another file");
        std::fs::remove_file(&output).expect("it is there");
    }
}

/// A name that anybody can predict could be a link to another file.
#[test]
#[cfg(unix)]
fn planted_links_are_not_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "precious").expect("it is written");
    for name in ["out.npy.part", "out.npy.part.names", "out.png.part"] {
        std::os::unix::fs::symlink(&precious, folder.path().join(name)).expect("a link");
    }
    let array = run(&["embed", &sample(), "-o", text(&folder.path().join("out.npy"))]);
    assert!(array.code == 1 && array.errors()[0].contains("out.npy.part"), "{}", array.stderr);
    assert_eq!(run(&["attention", &sample(), "-o", text(&folder.path().join("out.png"))]).code, 0);
    assert_eq!(std::fs::read(&precious).expect("it is there"), b"precious");
}

#[test]
fn outputs_of_another_run_are_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, locked) in [("out.jsonl", "out.jsonl"), ("out.csv", "out.csv"), ("out.npy", "out.npy.part")] {
        let (output, locked) = (folder.path().join(name), folder.path().join(locked));
        std::fs::write(&locked, "").expect("it is written");
        let held = std::fs::OpenOptions::new().write(true).open(&locked).expect("it is there");
        held.lock().expect("a lock");
        for more in [&[][..], &["--resume"]] {
            let second = run(&[&["embed", &sample(), "-o", text(&output)], more].concat());
            assert!(second.code == 1 && second.errors()[0].contains("another run of vitraux is writing to it"), "{}", second.stderr);
        }
        drop(held);
        assert_eq!(run(&["embed", &sample(), "-o", text(&output)]).code, 0);
    }
}

#[test]
fn two_runs_may_draw_into_one_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = path("examples/digits/samples");
    let runs: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn({
                let (images, maps) = (images.clone(), folder.path().to_owned());
                move || run(&["attention", text(&images), "-o", text(&maps)])
            })
        })
        .collect();
    for drawn in runs {
        let drawn = drawn.join().expect("it ends");
        assert_eq!(drawn.code, 0, "{}", drawn.stderr);
    }
    let again = run(&["attention", "--resume", text(&images), "-o", text(folder.path())]);
    assert!(again.code == 0 && again.stderr.contains("nothing to do"), "{}", again.stderr);
    for map in std::fs::read_dir(folder.path()).expect("a folder") {
        let map = map.expect("an entry").path();
        assert!(map.extension().is_some_and(|extension| extension == "png") && image::open(&map).is_ok(), "{map:?}");
    }
}

#[test]
fn resumed_arrays_are_not_cut_by_a_damaged_description() {
    let folder = tempfile::tempdir().expect("a folder");
    let (output, broken) = (folder.path().join("out.npy"), folder.path().join("broken.png"));
    std::fs::write(&broken, "no image").expect("it is written");
    let interrupted = run(&["embed", "--strict", "--batch", "1", &sample(), text(&broken), "-o", text(&output)]);
    assert_eq!(interrupted.code, 1, "{}", interrupted.stderr);
    let [rows, names] = ["out.npy.part", "out.npy.part.names"].map(|name| folder.path().join(name));
    let (kept, described) = (std::fs::read(&rows).expect("rows"), std::fs::read_to_string(&names).expect("names"));
    let width = kept.len() / 4;
    for shape in ["[1000000]".to_owned(), "[]".to_owned(), "[0]".to_owned(), format!("[4000000000000000000,{width}]"), format!("[0,{width}]")] {
        std::fs::write(&names, described.replace(&format!("[{width}]"), &shape)).expect("it is written");
        let resumed = run(&["embed", "--resume", &sample(), "-o", text(&output)]);
        assert!(resumed.code == 1 && resumed.errors()[0].contains("damaged"), "{shape}: {}", resumed.stderr);
        assert_eq!(std::fs::read(&rows).expect("rows"), kept, "{shape}");
    }
}
