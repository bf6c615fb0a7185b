//! Arrays of the images in tar archives: `vitraux embed --shards`.

use crate::support::cli::{Run, vitraux};
use crate::support::path;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vitraux::low_level::checkpoint::open_tensor;

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("examples/digits/samples/{name}.png"))).expect("a sample")
}

/// Writes an archive with these members.
fn archive(file: &Path, members: &[(&str, &[u8])]) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).expect("a file"));
    for (name, contents) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *contents).expect("a member");
    }
    archive.finish().expect("an archive");
}

struct Shards(TempDir);

impl Shards {
    /// Three archives, with labels beside the images, as webdataset has them.
    fn new() -> Shards {
        let shards = Shards(tempfile::tempdir().expect("a folder"));
        let [three, nine, six] = ["handwritten-3", "printed-9", "printed-6"].map(sample);
        archive(&shards.file("00.tar"), &[("a/0001.png", &three), ("a/0001.cls", b"3"), ("a/0002.png", &nine), ("a/0002.json", b"{}")]);
        archive(&shards.file("01.tar"), &[("0003.png", &six)]);
        archive(&shards.file("02.tar"), &[("0001.png", &nine), ("0004.jpg", &six)]);
        shards
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn embed(&self, more: &[&str]) -> Run {
        let (output, shards) = (self.file("vectors"), self.0.path().to_owned());
        let arguments = ["embed", "--device", "cpu", "--shards", "--output"].map(OsStr::new);
        vitraux(arguments.into_iter().chain([output.as_os_str(), shards.as_os_str()]).chain(more.iter().map(OsStr::new)))
    }

    fn written(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.file("vectors")).expect("a folder");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// Images and vectors of a Parquet file.
    fn rows(&self, name: &str) -> Vec<(String, Vec<f32>)> {
        let table = SerializedFileReader::try_from(self.file("vectors").join(name).as_path()).expect("a table");
        let rows = table.get_row_iter(None).expect("rows").map(|row| row.expect("a row"));
        let vector = |row: &parquet::record::Row| {
            let list = row.get_list(1).expect("a list");
            list.elements().iter().map(|field| if let parquet::record::Field::Float(value) = field { *value } else { panic!("{field:?}") }).collect()
        };
        rows.map(|row| (row.get_string(0).expect("a name").clone(), vector(&row))).collect()
    }
}

fn by_files(names: &[&str]) -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("all.safetensors");
    let files: Vec<PathBuf> = names.iter().map(|name| path(&format!("examples/digits/samples/{name}.png"))).collect();
    let arguments = ["embed", "--device", "cpu", "--output"].map(OsStr::new);
    let run = vitraux(arguments.into_iter().chain([output.as_os_str()]).chain(files.iter().map(|file| file.as_os_str())));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let vectors = open_tensor(&output, "embeddings").expect("vectors");
    vectors.values().chunks(vectors.shape()[1]).map(<[f32]>::to_vec).collect()
}

#[test]
fn each_archive_becomes_an_array_of_its_images() {
    let shards = Shards::new();
    let run = shards.embed(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(shards.written(), ["00.parquet", "01.parquet", "02.parquet"]);
    let want = by_files(&["handwritten-3", "printed-9", "printed-6"]);
    let rows: Vec<_> = ["00.parquet", "01.parquet", "02.parquet"].iter().flat_map(|name| shards.rows(name)).collect();
    assert!(rows.iter().map(|(name, _)| name.as_str()).eq(["a/0001.png", "a/0002.png", "0003.png", "0001.png", "0004.jpg"]));
    for ((name, vector), image) in rows.iter().zip([0, 1, 2, 1, 2]) {
        assert!(vector.iter().zip(&want[image]).all(|(got, want)| (got - want).abs() < 1e-5), "{name}");
    }
    // Nothing is left to do: no model is loaded, no file changes.
    let times = || {
        shards
            .written()
            .iter()
            .map(|name| shards.file("vectors").join(name).metadata().and_then(|m| m.modified()).expect("a time"))
            .collect::<Vec<_>>()
    };
    let before = times();
    let run = shards.embed(&[]);
    assert!(run.code == 0 && run.stderr.matches("already done").count() == 3 && !run.stderr.contains("device:"), "{}", run.stderr);
    assert_eq!(before, times());
    // One that is missing is made again.
    std::fs::remove_file(shards.file("vectors/01.parquet")).expect("a file");
    let run = shards.embed(&[]);
    assert!(run.code == 0 && run.stderr.matches("already done").count() == 2 && shards.written().len() == 3, "{}", run.stderr);
}

#[test]
fn a_damaged_archive_or_image_leaves_the_others_whole() {
    let shards = Shards::new();
    let cut = std::fs::read(shards.file("02.tar")).expect("an archive");
    std::fs::write(shards.file("02.tar"), &cut[..700]).expect("it is cut");
    std::fs::write(shards.file("03.tar"), b"\x1f\x8b packed").expect("a file");
    std::fs::write(shards.file("04.tar"), vec![7; 4096]).expect("a file");
    archive(&shards.file("05.tar"), &[("1.png", &sample("printed-6")[..80]), ("2.png", &sample("printed-6"))]);
    archive(&shards.file("06.tar"), &[("1.txt", b"no image")]);
    archive(&shards.file("07.tar"), &[("1.png", b"broken")]);
    archive(&shards.file("08.tar"), &[("1.png", &sample("printed-6")), ("1.png", &sample("printed-9"))]);
    let run = shards.embed(&[]);
    assert_eq!(run.code, 1);
    assert_eq!(shards.written(), ["00.parquet", "01.parquet", "05.parquet"], "{}", run.stderr);
    assert_eq!(shards.rows("05.parquet").len(), 1);
    for message in [
        "02.tar: expected a tar archive",
        "cut off",
        "gunzip",
        "05.tar/1.png",
        "06.tar: no images",
        "07.tar/1.png",
        "two members",
        "of 9 archives failed",
    ] {
        assert!(run.stderr.contains(message), "{message}: {}", run.stderr);
    }
    // Images that could not be read are missing in the next run too.
    let run = shards.embed(&[]);
    assert!(run.code == 1 && run.stderr.contains("05.parquet: complete with 1 image, without 1 of the 2"), "{}", run.stderr);
    let run = shards.embed(&["--strict"]);
    assert!(run.code == 1 && run.errors().len() == 1, "{}", run.stderr);
}

#[test]
fn rows_of_an_interrupted_archive_are_kept() {
    let shards = Shards::new();
    // As a killed run leaves them: the first image is done.
    let run = shards.embed(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let whole = shards.rows("00.parquet");
    std::fs::remove_file(shards.file("vectors/00.parquet")).expect("a file");
    let table = SerializedFileReader::try_from(shards.file("vectors/01.parquet").as_path()).expect("a table");
    let metadata = table.metadata().file_metadata().key_value_metadata().expect("metadata").clone();
    let what = metadata.iter().find(|entry| entry.key == "of").and_then(|entry| entry.value.clone()).expect("a description");
    let marked = vec![7.0f32; whole[0].1.len()];
    std::fs::write(shards.file("vectors/00.parquet.part"), bytemuck::cast_slice(&marked)).expect("rows");
    let head = serde_json::json!({"shape": [marked.len()], "what": what});
    std::fs::write(shards.file("vectors/00.parquet.part.names"), format!("{head}\n\"a/0001.png\"\n")).expect("names");
    let run = shards.embed(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = shards.rows("00.parquet");
    assert!(rows[0].1 == marked && rows[1] == whole[1], "the first is kept, the second computed");
    assert_eq!(shards.written().len(), 3);
}

#[test]
fn an_array_whose_list_was_not_written_any_more_is_finished() {
    let shards = Shards::new();
    assert_eq!(shards.embed(&["--format", "npy"]).code, 0);
    let whole = std::fs::read(shards.file("vectors/01.npy")).expect("an array");
    // As a run leaves it that is killed between the two files.
    let what = {
        let other = Shards::new();
        assert_eq!(other.embed(&["--format", "safetensors"]).code, 0);
        vitraux::low_level::checkpoint::metadata(other.file("vectors/01.safetensors")).expect("metadata")["of"].clone()
    };
    let width = 64;
    std::fs::remove_file(shards.file("vectors/01.npy.txt")).expect("a list");
    std::fs::write(shards.file("vectors/01.npy.part"), &whole[whole.len() - width * 4..]).expect("rows");
    let head = serde_json::json!({"shape": [width], "what": what});
    std::fs::write(shards.file("vectors/01.npy.part.names"), format!("{head}\n\"0003.png\"\n")).expect("names");
    let run = shards.embed(&["--format", "npy"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(shards.file("vectors/01.npy.txt")).expect("a list"), "0003.png\n");
    assert_eq!(std::fs::read(shards.file("vectors/01.npy")).expect("an array"), whole);
}

#[test]
fn wrong_outputs_and_formats_are_refused() {
    let shards = Shards::new();
    let run = shards.embed(&["--format", "csv"]);
    assert!(run.code == 1 && run.stderr.contains("parquet, npy or safetensors"), "{}", run.stderr);
    assert_eq!(shards.embed(&["--format", "safetensors"]).code, 0);
    let run = shards.embed(&["--format", "safetensors", "--l2"]);
    assert!(run.code == 1 && run.stderr.contains("holds other vectors"), "{}", run.stderr);
    std::fs::create_dir(shards.file("again")).expect("a folder");
    std::fs::copy(shards.file("00.tar"), shards.file("again/00.tar")).expect("a copy");
    let run = shards.embed(&["--format", "npy"]);
    assert!(run.code == 1 && run.stderr.contains("would both be written to"), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn pipes_are_no_archives() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("vectors");
    let run = vitraux(["embed", "--device", "cpu", "--shards", "--output", output.to_str().expect("UTF-8"), "/dev/zero"].map(OsStr::new));
    assert!(run.code == 1 && run.stderr.contains("a pipe or a device"), "{}", run.stderr);
}

#[test]
fn linked_members_are_read_and_archives_without_an_end_refused() {
    let shards = Shards(tempfile::tempdir().expect("a folder"));
    let file = shards.file("00.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&file).expect("a file"));
    let mut header = tar::Header::new_gnu();
    let three = sample("handwritten-3");
    header.set_size(three.len() as u64);
    header.set_mode(0o644);
    for name in ["a/1.png", "blobs/1"] {
        archive.append_data(&mut header, name, &*three).expect("a member");
    }
    let links = [
        (tar::EntryType::Link, "a/2.png", "a/1.png"),
        (tar::EntryType::Link, "a/3.png", "blobs/1"),
        (tar::EntryType::Link, "a/4.png", "a/none.png"),
        (tar::EntryType::Symlink, "a/5.png", "a/1.png"),
    ];
    for (kind, name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        archive.append_link(&mut header, name, target).expect("a member");
    }
    archive.finish().expect("an archive");
    let whole = std::fs::read(&file).expect("an archive");
    // What follows the end, such as a signature, is no member.
    std::fs::write(&file, [&whole[..], b"signed"].concat()).expect("it is written");
    let run = shards.embed(&[]);
    assert!(run.code == 0 && run.stderr.contains("skipped: 2 links"), "{}", run.stderr);
    let rows = shards.rows("00.parquet");
    assert!(rows.len() == 3 && rows.iter().all(|row| row.1 == rows[0].1), "{rows:?}");
    // At the end of a member, where nothing else tells.
    let end = whole.iter().rposition(|byte| *byte != 0).expect("a header").next_multiple_of(512);
    std::fs::write(shards.file("01.tar"), &whole[..end]).expect("it is written");
    let run = shards.embed(&[]);
    assert!(run.code == 1 && run.stderr.contains("it is cut off"), "{}", run.stderr);
}
