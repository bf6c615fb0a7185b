//! Outputs: nothing is lost, whatever they are called, wherever they lead, and whoever else writes.

use crate::support::cli::{Run, program};
use crate::support::path;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

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

/// Files of a model whose names say little: those of its tokenizer, and shards that only the index names. And the list beside an array.
#[test]
fn outputs_replace_no_tokenizer_shard_or_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let (clip, sharded) = (at("clip"), at("sharded"));
    for (case, to) in [("hf_clip_text_full", &clip), ("hf_sharded_bf16", &sharded)] {
        std::fs::create_dir(to).expect("a folder");
        for entry in path(&format!("tests/fixtures/cases/{case}")).read_dir().expect("a folder") {
            let entry = entry.expect("an entry");
            let index = "model.safetensors.index.json";
            match entry.file_name().to_str().expect("UTF-8") {
                "model-00001-of-00002.safetensors" => std::fs::copy(entry.path(), Path::new(to).join("first.safetensors")).map(|_| ()),
                name if name == index => {
                    let text = std::fs::read_to_string(entry.path()).expect("an index").replace("model-00001-of-00002", "first");
                    std::fs::write(Path::new(to).join(index), text)
                }
                name => std::fs::copy(entry.path(), Path::new(to).join(name)).map(|_| ()),
            }
            .expect("it is written");
        }
    }
    std::fs::write(at("vectors.npy"), "").expect("it is written");
    std::fs::copy(sample(), at("vectors.npy.txt")).expect("a copy");
    let names = ["clip/tokenizer.json", "clip/vocab.json", "clip/merges.txt", "sharded/first.safetensors", "vectors.npy.txt"];
    let before = names.map(|name| std::fs::read(at(name)).expect("it is there"));
    let cases: [&[&str]; 5] = [
        &["classify", "-m", &clip, "--labels", "a,b", "--format", "json", "-o", &at(names[0]), &sample()],
        &["embed", "-m", &clip, "--format", "json", "-o", &at(names[1]), &sample()],
        &["classify", "-m", &clip, "--labels", "a,b", "--format", "csv", "-o", &at(names[2]), &sample()],
        &["embed", "-m", &sharded, "-o", &at(names[3]), &sample()],
        &["embed", "-m", &sharded, "-o", &at("vectors.npy"), &at(names[4])],
    ];
    for arguments in cases {
        let run = run(arguments);
        assert!(run.code == 1 && run.errors()[0].contains("would overwrite the input"), "{arguments:?}: {}", run.stderr);
    }
    assert!(names.iter().zip(before).all(|(name, bytes)| bytes == std::fs::read(at(name)).expect("it is there")));
}

/// However the folder of the first run's maps is spelled, the second takes none of them for an image.
#[test]
fn maps_are_no_images_of_the_next_run() {
    for output in ["maps", "./maps", "../photos/maps", "."] {
        let folder = tempfile::tempdir().expect("a folder");
        let photos = folder.path().join("photos");
        std::fs::create_dir(&photos).expect("a folder");
        std::fs::copy(sample(), photos.join("three.png")).expect("a copy");
        for more in [&[][..], &["--resume"], &["--pca"]] {
            let mut command = program();
            command.current_dir(&photos).env("VITRAUX_DEVICE", "cpu").args(["attention", "-o", output, "."]).args(more);
            let run = crate::support::cli::run(command);
            assert_eq!(run.code, 0, "{output} {more:?}: {}", run.stderr);
        }
        let mut made: Vec<_> = photos.join(output).read_dir().expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        made.retain(|name| name != "three.png");
        made.sort();
        assert_eq!(made, ["three.attention.png", "three.pca.png"], "{output}");
    }
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

#[test]
#[cfg(target_os = "linux")]
fn full_standard_output_is_reported_once() {
    let sample = sample();
    let calls: [&[&str]; 6] =
        [&["classify", &sample], &["classify", "--format", "json", &sample], &["families"], &["inspect"], &["completions", "bash"], &["--help"]];
    for call in calls {
        let mut command = program();
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let run = command.env("VITRAUX_DEVICE", "cpu").args(call).stdout(full).output().expect("a run");
        let errors = String::from_utf8(run.stderr).expect("text");
        let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("error")).collect();
        assert!(run.status.code() == Some(1) && errors == ["error: standard output: No space left on device"], "{call:?}: {errors:?}");
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

/// A copy of the digits model with other labels.
fn relabelled(folder: &Path, label: &str) -> String {
    let mut config = crate::support::json("examples/digits/config.json");
    let names: Vec<String> = (0..10).map(|digit| format!("{label}{digit}")).collect();
    config["label_names"] = names.into();
    config["pretrained_cfg"].as_object_mut().map(|own| (own.remove("label_names"), own.remove("labels")));
    std::fs::write(folder.join("config.json"), config.to_string()).expect("it is written");
    std::fs::copy(path("examples/digits/model.safetensors"), folder.join("model.safetensors")).expect("a copy");
    text(folder).to_owned()
}

#[test]
fn control_characters_are_escaped_in_text_and_kept_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = relabelled(folder.path(), "a\u{1b}[31m\nb");
    let image = folder.path().join("x\u{1b}]0;y\n.png");
    std::fs::copy(sample(), &image).expect("a copy");
    let printed = run(&["classify", "-n", "1", "-m", &model, text(&image)]);
    assert_eq!((printed.code, printed.stdout.lines().count()), (0, 2), "{} {}", printed.stdout, printed.stderr);
    assert!(!printed.stdout.contains('\u{1b}') && printed.stdout.contains("a\\u{1b}[31m\\nb3"), "{}", printed.stdout);
    let json = run(&["classify", "-n", "1", "--format", "json", "-m", &model, text(&image)]);
    let line: serde_json::Value = serde_json::from_str(&json.stdout).expect("a line of JSON");
    assert_eq!((&line["top"][0]["label"], &line["image"]), (&"a\u{1b}[31m\nb3".into(), &text(&image).into()));
    let missing = run(&["classify", "no\u{1b}c\nfile.png"]);
    assert!(missing.code == 1 && missing.stderr.lines().all(|line| !line.contains('\u{1b}')), "{}", missing.stderr);
    assert!(missing.errors().len() == 1 && missing.errors()[0].contains("file.png: no such file"), "{}", missing.stderr);
}

/// A copy of the digits model in which all values of a tensor are `value`.
fn changed(folder: &Path, tensor: &str, value: f32) -> String {
    use safetensors::tensor::{SafeTensors, TensorView};
    let bytes = std::fs::read(path("examples/digits/model.safetensors")).expect("weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let data = |name: &str, data: &[u8]| if name == tensor { value.to_le_bytes().repeat(data.len() / 4) } else { data.to_vec() };
    let changed: Vec<_> = tensors.iter().map(|(name, view)| (name, view.shape().to_vec(), data(name, view.data()))).collect();
    let views = changed.iter().map(|(name, shape, data)| (*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), data).expect("a view")));
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).expect("bytes")).expect("it is written");
    std::fs::copy(path("examples/digits/config.json"), folder.join("config.json")).expect("a copy");
    text(folder).to_owned()
}

#[test]
fn weights_beyond_f16_are_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = changed(folder.path(), "blocks.0.mlp.fc1.weight", 7e4);
    for device in ["cpu", "gpu"] {
        let run = |precision: &str| {
            crate::support::cli::vitraux(["classify", "-m", &model, "--device", device, "--precision", precision, &sample()].map(AsRef::as_ref))
        };
        let half = run("f16");
        assert!(half.stderr.contains("blocks.0.mlp.fc1.weight: ") && half.stderr.contains("beyond the range of f16"), "{device}: {}", half.stderr);
        assert!(!run("f32").stderr.contains("beyond"));
    }
}

#[test]
fn results_that_are_not_finite_are_errors_unless_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its numbers overflow.
    let model = changed(folder.path(), "blocks.0.norm1.weight", 3e38);
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    assert_eq!(run(&["preprocess", "-m", &model, "-o", &at("pixels.safetensors"), &sample()]).code, 0);
    let other = text(&path("examples/digits/samples/printed-2.png")).to_owned();
    let calls: [&[&str]; 7] = [
        &["classify", &sample()],
        &["embed", &sample()],
        &["embed", "-o", &at("out.npy"), &sample(), &sample()],
        &["attention", "-o", &at("maps"), &sample()],
        &["attention", "--pca", "-o", &at("maps"), &sample()],
        &["similar", "--pairs", &sample(), &other],
        &["forward", "--input", &at("pixels.safetensors"), "-o", &at("out.safetensors")],
    ];
    for call in calls {
        let refused = run(&[call, &["-m", &model]].concat());
        assert!(refused.code == 1 && refused.errors()[0].contains("expected finite numbers, found"), "{call:?}: {}", refused.stderr);
        let allowed = run(&[call, &["-m", &model, "--allow-nan"]].concat());
        assert_eq!(allowed.code, 0, "{call:?}: {}", allowed.stderr);
    }
    let taps = run(&["forward", "-m", &model, "--input", &at("pixels.safetensors"), "--tap", "all", "-o", &at("out.safetensors")]);
    assert!(taps.errors()[0].contains("attn.0 of image 0"), "the tensor is named: {}", taps.stderr);
}

#[test]
#[cfg(unix)]
fn lists_on_standard_input_are_inputs_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("x.npy"), "").expect("it is written");
    for (call, list, output) in [("classify", "list.txt", "list.txt"), ("embed", "list.csv", "list.csv"), ("embed", "x.npy.txt", "x.npy")] {
        std::fs::write(at(list), sample()).expect("it is written");
        let mut command = program();
        command.args([call, "--device", "cpu", "-", "-o", text(&at(output))]).stdin(File::open(at(list)).expect("it is there"));
        let run = crate::support::cli::run(command);
        assert!(run.code == 1 && run.errors()[0].contains("would overwrite the file on standard input"), "{call} {output}: {}", run.stderr);
        assert_eq!(std::fs::read_to_string(at(list)).expect("it is there"), sample());
    }
}

/// Whoever reads standard output may stop, as `head` does; files are made all the same.
#[test]
fn maps_are_made_after_their_reader_has_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let maps = folder.path().join("maps");
    for name in ["a.png", "b.png", "c.png"] {
        std::fs::copy(path("tests/fixtures/cases/hf_dpt_depth/image.png"), folder.path().join(name)).expect("a copy");
    }
    let mut command = program();
    command.args([
        "depth",
        "--device",
        "cpu",
        "--batch",
        "1",
        "-m",
        text(&path("tests/fixtures/cases/hf_dpt_depth")),
        "-o",
        text(&maps),
        text(folder.path()),
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    assert_eq!(maps.read_dir().expect("a folder").count(), 3);
}

#[test]
fn numbers_that_may_be_a_width_or_a_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("32")).expect("a folder");
    std::fs::copy(sample(), folder.path().join("32/three.png")).expect("a copy");
    for (arguments, code, words) in
        [(["48", "32"], 2, "write 48x32, or 48 ./32"), (["48", "./32"], 0, "32/three.png"), (["48x32", "32"], 0, "32/three.png")]
    {
        let mut command = program();
        command.current_dir(folder.path()).args([
            "classify",
            "--device",
            "cpu",
            "-m",
            text(&path("tests/fixtures/cases/hf_vit_cls")),
            "--image-size",
        ]);
        command.args(arguments);
        let run = crate::support::cli::run(command);
        assert!(run.code == code && format!("{}{}", run.stdout, run.stderr).contains(words), "{arguments:?}: {} {}", run.stdout, run.stderr);
    }
}

#[test]
fn maps_of_other_images_and_foreign_files_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    for (name, image) in [("a/x.png", "handwritten-3"), ("b/x.png", "printed-9"), ("maps/y.png", "printed-6"), ("c/z.png", "printed-6")] {
        std::fs::create_dir_all(Path::new(&at(name)).parent().expect("a folder")).expect("a folder");
        std::fs::copy(path(&format!("examples/digits/samples/{image}.png")), at(name)).expect("a copy");
    }
    let (maps, map) = (at("maps"), at("maps/x.attention.png"));
    let drawn = |more: &[&str]| run(&[&["attention", "-o", &maps], more].concat());
    assert_eq!(drawn(&[&at("a/x.png")]).code, 0);
    let first = std::fs::read(&map).expect("a map");
    assert!(drawn(&["--resume", &at("a/x.png")]).stderr.contains("nothing to do"));
    let other = drawn(&["--resume", &at("b/x.png")]);
    assert!(other.code == 0 && std::fs::read(&map).expect("a map") != first, "{}", other.stderr);
    // An image that lies among the maps.
    assert_eq!(drawn(&[&at("a/x.png"), &at("maps/y.png")]).code, 0);
    assert!(walkdir::WalkDir::new(&maps).into_iter().any(|entry| entry.expect("an entry").file_name() == "y.attention.png"));
    // A file that no run has made.
    std::fs::write(at("maps/z.attention.png"), "precious").expect("it is written");
    let foreign = drawn(&[&at("c/z.png")]);
    assert!(foreign.code == 1 && foreign.errors()[0].contains("not from an earlier run"), "{}", foreign.stderr);
    assert_eq!(std::fs::read(at("maps/z.attention.png")).expect("it is there"), b"precious");
}

/// An image whose map cannot have its name fails alone.
#[test]
#[cfg(target_os = "linux")]
fn names_that_are_too_long_stop_no_other_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).expect("a folder");
    for name in ["a".repeat(250), "b".to_owned()] {
        std::fs::copy(sample(), photos.join(format!("{name}.png"))).expect("a copy");
    }
    let maps = folder.path().join("maps");
    let drawn = run(&["attention", "-o", text(&maps), text(&photos)]);
    assert!(drawn.code == 1 && maps.join("b.attention.png").exists(), "{}", drawn.stderr);
}

/// The largest file that the system allows, which a signal would tell otherwise.
#[test]
#[cfg(target_os = "linux")]
fn files_that_may_not_grow_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let calls = writers().into_iter().chain([(vec!["embed".to_owned(), sample(), "-o".to_owned()], "out.npy")]);
    for (call, name) in calls {
        let output = folder.path().join(name);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_vitraux")]).args(&call).arg(&output);
        command.env("VITRAUX_MODEL", "digits").env("VITRAUX_DEVICE", "cpu");
        let full = crate::support::cli::run(command);
        assert!(full.code == 1 && full.errors()[0].contains("File too large"), "{call:?}: {}", full.stderr);
        assert!(full.errors()[0].contains(text(&output)), "{call:?} does not name the file: {}", full.stderr);
    }
}

#[test]
fn truncated_arrays_are_not_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.npy");
    assert_eq!(run(&["embed", &sample(), "-o", text(&output)]).code, 0);
    assert!(run(&["embed", "--resume", &sample(), "-o", text(&output)]).stderr.contains("nothing to do"));
    let whole = std::fs::read(&output).expect("an array");
    for len in [0, 50, whole.len() - 4] {
        std::fs::write(&output, &whole[..len]).expect("it is written");
        let resumed = run(&["embed", "--resume", &sample(), "-o", text(&output)]);
        assert!(resumed.code == 1 && resumed.errors()[0].contains("damaged"), "{len}: {}", resumed.stderr);
    }
}
