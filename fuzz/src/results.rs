//! Files of the program: those that an earlier run has left, archives, and requests to its server.

use super::in_folder;
use serde_json::json;
use vitraux_cli::readers;

/// Model and vectors of the seeds.
const MODEL: &str = "digits 59f05542 in f32";
const VECTORS: &str = "features, as it is, of digits 59f05542 in f32";
const WIDTH: usize = 64;

/// First line of a table of `classify`.
fn head() -> &'static str {
    include_str!("../seeds/lines/l.csv").lines().next().expect("a table has a first line")
}

/// The index of `similar`.
pub fn index(data: &[u8]) -> bool {
    in_folder(&[("index.safetensors", data)], |folder| readers::index(&folder.join("index.safetensors"), MODEL, WIDTH))
}

/// Lines of `classify` that `--resume` continues.
pub fn lines(data: &[u8]) -> bool {
    in_folder(&[("json", data), ("csv", data)], |folder| {
        let is_json = readers::lines(&folder.join("json"), MODEL, None);
        // What is accepted loses an incomplete last line at most.
        let kept = std::fs::read(folder.join("json")).expect("it is there");
        assert!(data.starts_with(&kept) && (is_json || kept.len() == data.len()), "an output was changed");
        readers::lines(&folder.join("csv"), MODEL, Some(head())) || is_json
    })
}

/// Rows of `embed` that `--resume` continues: names, a byte that UTF-8 lacks, and rows.
pub fn rows(data: &[u8]) -> bool {
    let place = data.iter().position(|byte| *byte == 0xFF).unwrap_or(data.len());
    let (names, rows) = (&data[..place], data.get(place + 1..).unwrap_or_default());
    in_folder(&[("a.npy.part", rows), ("a.npy.part.names", names)], |folder| readers::rows(&folder.join("a.npy"), VECTORS, WIDTH))
}

/// A complete array of `embed`.
pub fn array(data: &[u8]) -> bool {
    in_folder(&[("a.parquet", data), ("a.safetensors", data)], |folder| {
        ["a.parquet", "a.safetensors"].iter().filter(|file| readers::array(&folder.join(file), VECTORS, "printed-2.png")).count() > 0
    })
}

/// Measurements of `bench`.
pub fn baseline(data: &[u8]) -> bool {
    let conditions =
        json!({ "name": "digits", "encoder": "4 blocks of width 64, 4 heads, MLP 256", "device": "cpu", "precision": "f32", "size": [32, 32] });
    in_folder(&[("bench.json", data)], |folder| readers::baseline(&folder.join("bench.json"), &conditions))
}

/// A map of `attention`.
pub fn map(data: &[u8]) -> bool {
    in_folder(&[("map.png", data)], |folder| readers::map(&folder.join("map.png")))
}

/// A request for inference: JSON, and after a line feed the bytes of tensors.
pub fn request(data: &[u8]) -> bool {
    let json = data.iter().position(|byte| *byte == b'\n');
    let body = match json {
        Some(end) => [&data[..end], &data[end + 1..]].concat(),
        None => data.to_vec(),
    };
    readers::request(&body, json)
}

/// A tar archive of images. Headers get the checksums that they need, so that more than those is tried.
pub fn archive(data: &[u8]) -> bool {
    let mut data = data.to_vec();
    for header in data.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    in_folder(&[("a.tar", &data)], |folder| readers::archive(&folder.join("a.tar")))
}
