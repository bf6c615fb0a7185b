//! Images that are alike, as the program finds them.

use crate::support::cli::{Run, program, vitraux};
use crate::support::path;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use vitraux::{Checkpoint, Device, Image, Model};

fn similar(arguments: &[&str]) -> Run {
    vitraux([&["similar", "--device", "cpu"], arguments].concat().into_iter().map(OsStr::new))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

/// A folder with the samples, a copy of one of them in another format, and one in another folder.
fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(path("examples/digits/samples")).expect("samples") {
        let file = entry.expect("an entry").path();
        std::fs::copy(&file, folder.path().join(file.file_name().expect("a name"))).expect("it is copied");
    }
    let three = image::open(path("examples/digits/samples/handwritten-3.png")).expect("an image");
    three.save(folder.path().join("copy-of-3.bmp")).expect("it is written");
    std::fs::create_dir(folder.path().join("deep")).expect("a folder");
    std::fs::copy(path("examples/digits/samples/printed-6.png"), folder.path().join("deep/six.png")).expect("it is copied");
    folder
}

/// The lines of JSON that a run printed: their images by their names, and how much they are alike.
fn lines(run: &Run) -> Vec<(Vec<String>, f64)> {
    let name = |value: &Value| Path::new(value.as_str()?).file_name()?.to_str().map(str::to_owned);
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        let names = [&value["image"], &value["other"]].into_iter().filter_map(name).collect();
        (names, value["similarity"].as_f64().expect("a number"))
    };
    run.stdout.lines().map(line).collect()
}

/// The cosine of the features of two images, by hand.
fn cosine(a: &Path, b: &Path) -> f64 {
    let mut session = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session();
    let mut features = |file: &Path| {
        let prepare = session.model().preprocess().expect("it takes images").clone();
        let pixel_values = prepare.apply(&Image::open(file).expect("an image")).expect("pixel values");
        session.forward_blocking(&pixel_values, &["features"]).expect("features")["features"].values().into_owned()
    };
    let (a, b) = (features(a), features(b));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

#[test]
fn images_are_ranked_by_cosine_similarity() {
    let folder = images();
    let query = folder.path().join("handwritten-3.png");
    let run = similar(&["--to", text(&query), "--format", "json", text(folder.path())]);
    assert_eq!((run.code, run.errors()), (0, Vec::new()));
    let found = lines(&run);
    // All but itself, the copy first.
    assert_eq!(found.len(), 9);
    assert_eq!(found[0].0, ["copy-of-3.bmp"]);
    assert!((found[0].1 - 1.0).abs() < 1e-6 && found.is_sorted_by(|a, b| a.1 >= b.1), "{found:?}");
    for (names, similarity) in &found[1..4] {
        let file = if names[0] == "six.png" { folder.path().join("deep/six.png") } else { folder.path().join(&names[0]) };
        assert!((cosine(&query, &file) - similarity).abs() < 1e-5, "{names:?}");
    }
    let few = similar(&["--to", text(&query), "--format", "json", "--top", "2", "--above", "0.5", text(folder.path())]);
    assert_eq!(lines(&few), found.iter().filter(|(_, similarity)| *similarity >= 0.5).take(2).cloned().collect::<Vec<_>>());
    let table = similar(&["--to", text(&query), "--format", "csv", text(folder.path())]);
    assert_eq!(table.stdout.lines().count(), 10);
    assert!(table.stdout.starts_with("image,similarity\n"));
    // However it is written.
    let again = folder.path().join("deep/../handwritten-3.png");
    let found_again = lines(&similar(&["--to", text(&again), "--format", "json", text(folder.path())]));
    assert_eq!(found_again, found);
    let people = similar(&["--to", text(&query), text(folder.path())]);
    assert!(people.stdout.starts_with("1.0000  "), "{}", people.stdout);
}

#[test]
fn pairs_finds_near_duplicates_across_folders() {
    let folder = images();
    let run = similar(&["--pairs", "--format", "json", text(folder.path())]);
    assert_eq!((run.code, run.errors()), (0, Vec::new()));
    let mut pairs: Vec<Vec<String>> = lines(&run).into_iter().map(|(names, _)| names).collect();
    pairs.sort();
    assert_eq!(pairs, [["copy-of-3.bmp", "handwritten-3.png"], ["six.png", "printed-6.png"]]);
    // Ten images have 45 pairs.
    let all = similar(&["--pairs", "--above", "-1", "--format", "json", text(folder.path())]);
    assert_eq!(lines(&all).len(), 45);
    assert!(lines(&all).is_sorted_by(|a, b| a.1 >= b.1));
    // Equal images have a similarity of 1.
    assert_eq!(lines(&similar(&["--pairs", "--above", "1", "--format", "json", text(folder.path())])).len(), 2);
    let cut = similar(&["--pairs", "--above", "-1", "--top", "3", "--format", "csv", text(folder.path())]);
    assert_eq!(cut.stdout.lines().count(), 4);
}

/// More than a block of vectors, so that pairs are found across blocks too.
#[test]
fn pairs_are_found_across_vector_blocks() {
    let folder = images();
    let mut expected = 45;
    for i in 0..300 {
        std::fs::copy(path("examples/digits/samples/printed-2.png"), folder.path().join(format!("two-{i:03}.png"))).expect("it is copied");
        expected += 10 + i;
    }
    let run = similar(&["--pairs", "--above", "-1", "--top", "100000", "--format", "json", text(folder.path())]);
    let found = lines(&run);
    let names: std::collections::BTreeSet<&Vec<String>> = found.iter().map(|(names, _)| names).collect();
    assert_eq!((found.len(), names.len()), (expected, expected));
    let twos = found.iter().filter(|(names, _)| names.iter().all(|name| name.starts_with("two-"))).collect::<Vec<_>>();
    assert!(twos.len() == 300 * 299 / 2 && twos.iter().all(|(_, similarity)| (similarity - 1.0).abs() < 1e-6));
    let few = similar(&["--pairs", text(folder.path())]);
    assert!(few.stdout.lines().count() == 1000 && few.stderr.contains("more matches are not shown"), "{}", few.stderr);
}

#[test]
fn index_is_built_once_and_updated_incrementally() {
    let folder = images();
    let index = tempfile::tempdir().expect("a folder");
    let index = index.path().join("images.safetensors");
    let three = folder.path().join("handwritten-3.png");
    let run = |more: &[&str]| similar(&[&["--index", text(&index), "--format", "json", "--to"], more].concat());
    let first = run(&[text(&three), text(folder.path())]);
    assert!(first.code == 0 && first.stderr.contains("device: "), "{}", first.stderr);
    // Nothing to look at: no device is opened; with no images named, those of the index are meant.
    for again in [run(&[text(&three), text(folder.path())]), run(&[text(&three)])] {
        assert!(again.code == 0 && !again.stderr.contains("device: "), "{}", again.stderr);
        assert_eq!(lines(&again), lines(&first));
    }
    // An image of elsewhere is compared with, but not kept.
    let nine = run(&[text(&path("examples/digits/samples/printed-9.png"))]);
    assert_eq!(lines(&nine)[0].0, ["printed-9.png"]);
    // One is new, one has become another one, and one is gone.
    std::fs::copy(&three, folder.path().join("new.png")).expect("it is copied");
    std::fs::copy(folder.path().join("printed-9.png"), folder.path().join("copy-of-3.bmp")).expect("it is copied");
    std::fs::remove_file(folder.path().join("printed-2.png")).expect("it is removed");
    let changed = lines(&run(&[text(&three), text(folder.path())]));
    assert_eq!(changed[0].0, ["new.png"]);
    let similarity = |name: &str| changed.iter().find(|(names, _)| names[0] == name).map(|(_, similarity)| *similarity);
    assert_eq!(similarity("copy-of-3.bmp"), similarity("printed-9.png"));
    assert_eq!(similarity("printed-2.png"), None);
    assert_eq!(lines(&run(&[text(&three)])), changed);
    // What other programs read.
    let embeddings = vitraux::low_level::checkpoint::open_tensor(&index, "embeddings").expect("embeddings");
    let width = embeddings.shape()[1];
    assert!(embeddings.values().chunks(width).all(|row| (row.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5));
    // What has changed is looked at again although nobody names it.
    std::fs::copy(&three, folder.path().join("printed-9.png")).expect("it is copied");
    assert!(lines(&run(&[text(&three)])).iter().any(|(names, similarity)| names[0] == "printed-9.png" && (similarity - 1.0).abs() < 1e-6));
    // An image that can no longer be read is not ranked by what it was.
    std::fs::write(folder.path().join("new.png"), "no image").expect("it is written");
    std::fs::write(folder.path().join("printed-6.png"), "no image either").expect("it is written");
    for broken in [run(&[text(&three), text(folder.path())]), run(&[text(&three)])] {
        assert!(broken.code == 1 && broken.stderr.contains("new.png") && broken.stderr.contains("2 of 2 images failed"), "{}", broken.stderr);
        assert!(!lines(&broken).is_empty() && lines(&broken).iter().all(|(names, _)| !["new.png", "printed-6.png"].contains(&names[0].as_str())));
    }
}

#[test]
fn old_timestamps_and_non_utf8_names_are_ranked() {
    let folder = images();
    let (old, three) = (folder.path().join("printed-2.png"), folder.path().join("handwritten-3.png"));
    let before = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1 << 27);
    std::fs::File::options().write(true).open(&old).and_then(|file| file.set_modified(before)).expect("it is made old");
    let mut expected = 9;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::fs::copy(&old, folder.path().join(OsStr::from_bytes(b"x\xFF.png"))).expect("it is copied");
        expected += 1;
    }
    let run = similar(&["--to", text(&three), "--format", "json", text(folder.path())]);
    let found = lines(&run);
    assert_eq!((run.code, found.len()), (0, expected), "{}", run.stderr);
    assert!(found.iter().any(|(names, _)| names[0] == "printed-2.png"));
}

/// Paths are as they were given: from another folder nothing of it is there, which is not the same as that nothing is alike.
#[test]
fn missing_index_images_are_reported() {
    let (folder, elsewhere) = (images(), tempfile::tempdir().expect("a folder"));
    let run = |place: &Path, arguments: &[&str]| {
        let mut command = program();
        command.args(["similar", "--device", "cpu"]).args(arguments).current_dir(place);
        crate::support::cli::run(command)
    };
    let index = elsewhere.path().join("index.safetensors");
    assert_eq!(run(folder.path(), &["--pairs", "--index", text(&index), "."]).code, 0);
    let nothing = run(elsewhere.path(), &["--pairs", "--index", text(&index)]);
    assert!(nothing.code == 1 && nothing.errors()[0].contains("none of the 10 indexed images exist"), "{}", nothing.stderr);
    std::fs::remove_file(folder.path().join("printed-2.png")).expect("it is removed");
    let some = run(folder.path(), &["--pairs", "--index", text(&index)]);
    assert!(some.code == 0 && some.stderr.contains("1 of the 10 indexed images do not exist"), "{}", some.stderr);
    // A file that cannot be written is said before the work, not after it.
    let refused = run(folder.path(), &["--pairs", "--index", "/proc/index.safetensors", "."]);
    assert!(refused.code == 1 && !refused.stderr.contains("device: "), "{}", refused.stderr);
    let unpooled = path("tests/fixtures/cases/torch_prenorm_encoder");
    let refused = run(folder.path(), &["--pairs", "--model", text(&unpooled), "."]);
    assert!(refused.code == 1 && refused.errors()[0].contains("has no pooled features"), "{}", refused.stderr);
}

#[test]
fn foreign_index_is_refused_and_left_untouched() {
    let (folder, place) = (images(), tempfile::tempdir().expect("a folder"));
    let file = place.path().join("file.safetensors");
    let pairs = |more: &[&str]| similar(&[&["--pairs", "--index", text(&file), text(folder.path())], more].concat());
    for (contents, expected) in
        [(b"no index".to_vec(), "no safetensors"), (std::fs::read(path("examples/digits/model.safetensors")).expect("weights"), "model")]
    {
        std::fs::write(&file, &contents).expect("it is written");
        let run = pairs(&[]);
        assert!(run.code == 1 && run.errors()[0].contains(expected) && run.errors()[0].contains("choose another --index"), "{:?}", run.errors());
        assert_eq!(std::fs::read(&file).expect("it is there"), contents);
    }
    std::fs::remove_file(&file).expect("it is removed");
    assert_eq!(pairs(&[]).code, 0);
    let other = pairs(&["--model", text(&path("tests/fixtures/cases/timm_vit_tiny"))]);
    assert!(other.code == 1 && other.errors()[0].contains("it holds features of digits"), "{:?}", other.errors());
    for (arguments, expected) in [
        (vec!["--to", "missing.png", text(folder.path())], "missing.png"),
        (vec!["--pairs"], "expected images"),
        (vec![text(folder.path())], "--to"),
        (vec!["--pairs", "--above", "2", text(folder.path())], "from -1 to 1"),
        (vec!["--pairs", "--index", text(&file), "--glob", "*.png"], "--glob: expected folders"),
        (vec!["--pairs", "--index", text(folder.path()), text(folder.path())], "found a folder"),
        (vec!["--pairs", "--index", text(&file), "--precision", "int8", text(folder.path())], "in f32, not of"),
    ] {
        let run = similar(&arguments);
        assert!(run.code != 0 && run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
}
