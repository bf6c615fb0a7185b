//! Vectors of images, as the program writes them.

use crate::support::cli::{Run, vitraux};
use crate::support::path;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use vitraux::{Checkpoint, Device, Image, Model, Tensor};

fn embed(arguments: &[&str]) -> Run {
    vitraux([&["embed", "--device", "cpu"], arguments].concat().into_iter().map(OsStr::new))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

fn samples() -> Vec<String> {
    ["handwritten-3.png", "printed-9.png", "handwritten-5.png"].map(|name| text(&path("examples/digits/samples").join(name)).to_owned()).to_vec()
}

/// An output of the digits' model for the samples, one after the other.
fn expected(output: &str) -> Vec<f32> {
    let mut session = Model::builder(Checkpoint::digits()).device(Device::cpu()).load_blocking().expect("a model").session();
    let prepare = session.model().preprocess().expect("it takes images").clone();
    let mut values = Vec::new();
    for file in samples() {
        let pixel_values = prepare.apply(&Image::open(file).expect("an image")).expect("pixel values");
        values.extend_from_slice(&session.forward_blocking(&pixel_values, &[output]).expect("outputs")[output].values());
    }
    values
}

fn is_near(got: &[f32], want: &[f32]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-5)
}

#[test]
fn every_output_format_stores_the_model_features() {
    let (folder, files, want) = (tempfile::tempdir().expect("a folder"), samples(), expected("features"));
    assert!(files.len() >= 2);
    let width = want.len() / files.len();
    let write = |name: &str| {
        let file = folder.path().join(name);
        let arguments: Vec<&str> = ["--output", text(&file), "--batch", "2"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let run = embed(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        file
    };
    let lines = std::fs::read_to_string(write("vectors.jsonl")).expect("text");
    let values: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let vector =
        |value: &Value| value["embedding"].as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect::<Vec<_>>();
    assert!(is_near(&values.iter().flat_map(vector).collect::<Vec<_>>(), &want));
    assert!(values.iter().map(|value| value["image"].as_str().expect("a path")).eq(&files));

    let mut table = csv::Reader::from_path(write("vectors.csv")).expect("a table");
    assert_eq!(table.headers().expect("a head").len(), width + 1);
    let rows: Vec<csv::StringRecord> = table.records().map(|row| row.expect("a row")).collect();
    let cells: Vec<f32> = rows.iter().flat_map(|row| row.iter().skip(1).map(|cell| cell.parse::<f32>().expect("a number"))).collect();
    assert!(is_near(&cells, &want) && rows.iter().map(|row| &row[0]).eq(&files));

    let array = write("vectors.npy");
    let bytes = std::fs::read(&array).expect("it is there");
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(header.contains(&format!("'shape': ({}, {width})", files.len())), "{header}");
    let start = bytes.len() - want.len() * 4;
    assert_eq!(start % 64, 0);
    assert!(is_near(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes[start..]), &want));
    assert!(std::fs::read_to_string(folder.path().join("vectors.npy.txt")).expect("a list").lines().eq(&files));

    let tensors = write("vectors.safetensors");
    let embeddings: Tensor = vitraux::low_level::checkpoint::open_tensor(&tensors, "embeddings").expect("a tensor");
    assert_eq!(embeddings.shape(), [files.len(), width]);
    assert!(is_near(&embeddings.values(), &want));

    let reader = SerializedFileReader::new(std::fs::File::open(write("vectors.parquet")).expect("a file")).expect("Parquet");
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    let lists: Vec<f32> = rows
        .iter()
        .flat_map(|row| {
            let list = row.get_list(1).expect("a list");
            list.elements().iter().map(|field| field.to_string().parse::<f32>().expect("a number")).collect::<Vec<_>>()
        })
        .collect();
    assert!(is_near(&lists, &want) && rows.iter().map(|row| row.get_string(0).expect("a path")).eq(&files));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 6, "nothing else is left");
}

/// Lines say what they are of, so that those of other options or another model are not gone on with.
#[test]
fn resume_refuses_output_of_other_options_or_models() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), samples());
    let file = folder.path().join("vectors.json");
    let run = |more: &[&str], image: &str| embed(&[&["--output", text(&file), "--resume"], more, &[image]].concat());
    assert_eq!(run(&[], &files[0]).code, 0);
    let before = std::fs::read(&file).expect("lines");
    let model = path("tests/fixtures/cases/timm_vit_tiny");
    for other in [&["--l2"][..], &["--layer", "1"], &["--tokens"], &["--model", text(&model)]] {
        let run = run(other, &files[1]);
        assert!(run.code == 1 && run.errors()[0].contains("line 1 is not from an earlier run with these options"), "{other:?}: {}", run.stderr);
        assert_eq!(std::fs::read(&file).expect("lines"), before);
    }
    assert_eq!(run(&[], &files[1]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).expect("lines").lines().count(), 2);
}

#[test]
fn layer_tokens_and_l2_options_match_taps() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), samples());
    let file = folder.path().join("vectors.safetensors");
    let read = |arguments: &[&str]| {
        let all: Vec<&str> = [&["--output", text(&file)], arguments].concat().into_iter().chain(files.iter().map(String::as_str)).collect();
        let run = embed(&all);
        assert_eq!(run.code, 0, "{}", run.stderr);
        vitraux::low_level::checkpoint::open_tensor(&file, "embeddings").expect("a tensor")
    };
    let config = Checkpoint::digits().config().clone();
    let (tokens, width) = (config.tokens(config.native_size()).expect("a number"), config.width);
    let all = read(&["--tokens"]);
    assert_eq!(all.shape(), [files.len(), tokens, width]);
    assert!(is_near(&all.values(), &expected("tokens")));
    assert!(is_near(&read(&["--tokens", "--layer", "1"]).values(), &expected("hidden.1")));
    let hidden = expected("hidden.2");
    let class: Vec<f32> = hidden.chunks(tokens * width).flat_map(|image| image[..width].to_vec()).collect();
    assert!(is_near(&read(&["--layer", "2"]).values(), &class));
    let unit = read(&["--layer", "2", "--l2"]);
    for (unit, class) in unit.values().chunks(width).zip(class.chunks(width)) {
        let norm = class.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!(is_near(unit, &class.iter().map(|value| value / norm).collect::<Vec<_>>()));
    }
}

/// The rows of a run that was cut are gone on with; those whose name was not written yet are made again.
#[test]
fn resume_completes_interrupted_npy_output() {
    let (folder, files, want) = (tempfile::tempdir().expect("a folder"), samples(), expected("features"));
    let file = folder.path().join("vectors.npy");
    let width = want.len() / files.len();
    let run = |more: &[&str]| {
        let all: Vec<&str> = [&["--output", text(&file)], more].concat().into_iter().chain(files.iter().map(String::as_str)).collect();
        embed(&all)
    };
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, "no image").expect("it is written");
    // What is there of the first image when the second one stops the run.
    let cut = |file: &Path| {
        let run = embed(&["--output", text(file), "--strict", "--batch", "1", &files[0], text(&broken)]);
        assert!(run.code == 1 && run.errors().len() == 1 && !file.exists(), "{}", run.stderr);
    };
    cut(&file);
    // A row and a half, one name and a half.
    let part = |extension: &str| folder.path().join(format!("vectors.npy.part{extension}"));
    std::fs::write(part(""), bytemuck::cast_slice::<f32, u8>(&vec![7.0; width + width / 2])).expect("it is written");
    let names = std::fs::read_to_string(part(".names")).expect("it is there");
    assert_eq!(names.lines().count(), 2);
    std::fs::write(part(".names"), names + "\"hal").expect("it is written");
    for other in [&["--resume", "--l2"][..], &["--resume", "--layer", "3"]] {
        let run = run(other);
        assert!(run.code == 1 && run.errors()[0].contains("holds other vectors from an earlier run, features"), "{}", run.stderr);
    }
    let resumed = run(&["--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let bytes = std::fs::read(&file).expect("it is there");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(bytes.len(), header + want.len() * 4, "the half row is gone");
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[bytes.len() - want.len() * 4..]);
    assert!(values[..width].iter().all(|value| *value == 7.0), "the first row was there already");
    assert!(is_near(&values[width..], &want[width..]));
    // Only a broken image is left of a run that was cut: the array is made nevertheless, and the image is named.
    let rest = folder.path().join("rest.npy");
    cut(&rest);
    let cut = embed(&["--output", text(&rest), &files[0]]);
    assert!(cut.code == 1 && cut.errors()[0].contains("continue it with --resume"), "{}", cut.stderr);
    let left = embed(&["--resume", "--output", text(&rest), &files[0], text(&broken)]);
    assert!(left.code == 1 && left.errors().len() == 2 && left.errors()[0].contains("broken.png"), "{}", left.stderr);
    assert!(rest.exists() && !folder.path().join("rest.npy.part").exists());
    let whole = run(&["--resume"]);
    assert!(whole.code == 0 && whole.stderr.contains("nothing to do: 3 images already done"), "{}", whole.stderr);
    let new = folder.path().join("new.png");
    std::fs::copy(&files[0], &new).expect("a copy");
    let more = run(&["--resume", text(&new)]);
    assert!(more.code == 1 && more.errors()[0].contains("complete with 3 images, without 1 of the 4 images asked for"), "{}", more.stderr);
    assert_eq!(run(&[]).code, 0, "without --resume it is made anew");
    // Other formats describe their vectors too. Files that no earlier run wrote are kept.
    for extension in ["safetensors", "parquet"] {
        let array = folder.path().join("whole").with_extension(extension);
        let run = |more: &[&str]| embed(&[&["--output", text(&array), "--resume", &files[0], &files[1]], more].concat());
        assert!(run(&[]).code == 0 && array.exists());
        assert!(run(&[]).stderr.contains("nothing to do: 2 images already done"));
        assert!(run(&["--l2"]).errors()[0].contains("holds other vectors"));
        assert!(run(&[text(&new)]).errors()[0].contains("without 1 of the 3 images asked for"));
    }
    for stray in ["fresh.npy.txt", "fresh.npy.part.names"] {
        std::fs::write(folder.path().join(stray), "precious").expect("it is written");
        let over = embed(&["--output", text(&folder.path().join("fresh.npy")), &files[0]]);
        assert!(over.code == 1 && over.errors()[0].contains("which no earlier run wrote"), "{}", over.stderr);
        assert_eq!(std::fs::read(folder.path().join(stray)).expect("it is there"), b"precious");
        std::fs::remove_file(folder.path().join(stray)).expect("it is there");
    }
    let refused = |arguments: &[&str], words: &str| {
        let run = embed(arguments);
        assert!(run.code == 1 && run.errors().len() == 1 && run.errors()[0].contains(words), "{}", run.stderr);
    };
    refused(&["--tokens", "--format", "csv", &files[0]], "--format npy");
    refused(&["--format", "npy", &files[0]], "expected --output");
    refused(&["--format", "npy", "--output", text(folder.path()), &files[0]], "found a folder");
    let foreign = folder.path().join("foreign.npy.part");
    std::fs::write(&foreign, "precious").expect("it is written");
    refused(&["--resume", "--output", text(&folder.path().join("foreign.npy")), &files[0]], "choose another --output");
    assert_eq!(std::fs::read_to_string(&foreign).expect("it is there"), "precious");
    refused(&["--layer", "9", &files[0]], "--layer: expected 0 to 3");
}
