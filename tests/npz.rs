//! Google's npz files that are wrong in some way, made of a fixture.

use crate::support::path;
use std::fs::File;
use std::io::{Read, Write};
use vitraux::Checkpoint;
use zip::write::SimpleFileOptions;

/// A copy of a fixture with its arrays changed: `change` gives what becomes of one, or nothing to drop it.
fn changed(case: &str, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>, more: &[(&str, Vec<u8>)]) -> vitraux::Result<Checkpoint> {
    let folder = path(&format!("tests/fixtures/cases/{case}"));
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let original = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "npz")).expect("an npz file");
    let mut archive = zip::ZipArchive::new(File::open(original).expect("a file")).expect("a zip file");
    let target = tempfile::tempdir().expect("a temporary folder");
    let file = target.path().join("changed.npz");
    let mut writer = zip::ZipWriter::new(File::create(&file).expect("a file"));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut write = |name: &str, bytes: &[u8]| {
        writer.start_file(name, options).expect("an entry");
        writer.write_all(bytes).expect("written");
    };
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).expect("an entry");
        let name = entry.name().expect("a name").into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an array");
        if let Some(bytes) = change(name.trim_end_matches(".npy"), bytes) {
            write(&name, &bytes);
        }
    }
    more.iter().for_each(|(name, bytes)| write(name, bytes));
    writer.finish().expect("a zip file");
    Checkpoint::open(file)
}

/// An array of zeros as numpy stores it.
fn npy(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; bytes]].concat()
}

/// Some arrays in one place: the entries of the directory all lead to the first.
fn in_one_place(count: u16) -> Vec<u8> {
    let data = npy("<f4", "(1024,)", 4096);
    let sum = crc32fast::hash(&data);
    // From the version to the length of the name.
    let common = |name: &str| {
        let (len, name_len) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        [&20u16.to_le_bytes()[..], &[0; 8], &sum.to_le_bytes(), &len, &len, &name_len, &[0; 2]].concat()
    };
    let mut file = [b"PK\x03\x04".to_vec(), common("0.npy"), b"0.npy".to_vec(), data.clone()].concat();
    let start = file.len() as u32;
    for i in 0..count {
        let name = format!("{i}.npy");
        file.extend([&b"PK\x01\x02\x14\x00"[..], &common(&name), &[0; 14], name.as_bytes()].concat());
    }
    let (len, count) = (file.len() as u32 - start, count.to_le_bytes());
    file.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &len.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat());
    file
}

#[test]
fn overlapping_arrays_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.npz");
    for (count, words) in [(1, "found no array"), (9, "it overlaps others")] {
        std::fs::write(&file, in_one_place(count)).expect("written");
        refused(Checkpoint::open(&file), &[words]);
    }
}

fn refused(result: vitraux::Result<Checkpoint>, words: &[&str]) {
    let error = result.expect_err("it is wrong").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error} does not mention {words:?}");
}

fn same(_: &str, bytes: Vec<u8>) -> Option<Vec<u8>> {
    Some(bytes)
}

#[test]
fn unmodified_npz_copy_loads_with_same_config() {
    let copy = changed("jax_augreg", same, &[]).expect("a checkpoint");
    assert_eq!((copy.config().depth, copy.config().heads, copy.config().width), (2, 3, 36));
}

/// Whichever array is missing, it is named, or the model would be another.
#[test]
fn missing_arrays_are_named() {
    let first = "Transformer/encoderblock_0/LayerNorm_0/scale";
    for missing in [first, "Transformer/encoderblock_1/MlpBlock_3/Dense_1/kernel", "Transformer/encoder_norm/bias", "embedding/bias", "head/bias"] {
        refused(changed("jax_augreg", |name, bytes| (name != missing).then_some(bytes), &[]), &[missing]);
    }
    refused(changed("jax_augreg", |name, bytes| (!name.contains("encoderblock")).then_some(bytes), &[]), &["query/bias"]);
    refused(changed("jax_augreg", |name, bytes| (name != "embedding/kernel").then_some(bytes), &[]), &["embedding/kernel"]);
    // Without one of these the others could pass for another model.
    for (case, missing, left) in [("jax_r50", "conv_root/kernel", "block1/"), ("jax_big_vision_stacked", "MAPHead_0/probe", "MAPHead_0/")] {
        refused(changed(case, |name, bytes| (!name.ends_with(missing)).then_some(bytes), &[]), &[left, "ignored silently"]);
    }
}

/// What the model does not need may be of any type: the optimiser's state, texts.
#[test]
fn unneeded_npz_arrays_are_ignored() {
    let more = [("opt/state.npy", npy("|V2", "(8,)", 16)), ("names.npy", npy("<U3", "(2,)", 24)), ("step.npy", npy("<i8", "()", 8))];
    assert!(changed("jax_augreg", same, &more).is_ok());
    let halves = |name: &str, bytes| Some(if name == "cls" { npy("|V2", "(1, 1, 36)", 72) } else { bytes });
    refused(changed("jax_augreg", halves, &[]), &["cls", "|V2"]);
}

#[test]
fn implausible_npz_sizes_are_refused() {
    // 800 MB of zeros, which take 800 KB.
    let bomb = [("bomb.npy", npy("<f4", "(200000000,)", 800_000_000))];
    refused(changed("jax_augreg", same, &bomb), &["bomb", "unpacks to many times"]);
    let cut = |name: &str, mut bytes: Vec<u8>| {
        if name == "cls" {
            bytes.truncate(bytes.len() - 4);
        }
        Some(bytes)
    };
    refused(changed("jax_augreg", cut, &[]), &["cls", "do not match"]);
    let deep = |name: &str, bytes| Some(if name.ends_with("query/bias") { npy("<f4", "(100000, 1, 1)", 400_000) } else { bytes });
    refused(changed("jax_big_vision_stacked", deep, &[]), &["100000 blocks"]);
    let far = [("Transformer/encoderblock_18446744073709551615/LayerNorm_0/scale.npy", npy("<f4", "(36,)", 144))];
    refused(changed("jax_augreg", same, &far), &["blocks"]);
    let groups = |name: &str, bytes| Some(if name == "conv_root/kernel" { npy("<f4", "(7, 7, 3, 33)", 19404) } else { bytes });
    refused(changed("jax_r50", groups, &[]), &["conv_root/kernel", "32 groups"]);
}

/// A type of numpy's is none of safetensors', whatever it is called.
#[test]
fn array_types_are_those_of_numpy() {
    for descr in ["BF16", "F32", "U8", "F8_E4M3"] {
        let array = npy(descr, "(36,)", 72);
        let result = changed("jax_augreg", |name, bytes| Some(if name == "Transformer/encoder_norm/bias" { array.clone() } else { bytes }), &[]);
        refused(result, &["encoder_norm/bias", &format!("numpy's {descr}")]);
    }
}

#[test]
fn arrays_of_one_name_are_refused() {
    let array = || npy("<f4", "(1, 1, 36)", 144);
    refused(changed("jax_augreg", same, &[("cls", array())]), &["cls", "stored twice"]);
    // Another name.
    refused(changed("jax_augreg", same, &[("cls.npy.npy", array())]), &["cls.npy", "ignored silently"]);
}
