//! Tokenizers against those of transformers.

use crate::support::{json, path};
use serde_json::Value;
use std::io::Read;
use tempfile::TempDir;
use vitraux::low_level::text::Tokenizer;

const CASES: [&str; 4] = ["hf_clip_text_full", "hf_clip_text_proj", "hf_siglip_text_full", "hf_siglip2_naflex"];

fn folder(case: &str) -> std::path::PathBuf {
    path("tests/fixtures/tokenizers").join(case)
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().expect("numbers").iter().map(|number| number.as_u64().expect("a number") as u32).collect()
}

#[test]
fn tokenizers_give_the_ids_of_the_reference() {
    for case in CASES {
        let tokenizer = Tokenizer::open(folder(case)).unwrap_or_else(|error| panic!("{case}: {error}"));
        let expected = json(&format!("tests/fixtures/tokenizers/{case}/tokens.json"));
        assert_eq!(tokenizer.length(), expected["max_length"], "{case}");
        let rows = expected["strings"].as_array().expect("strings");
        let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().expect("a text")).collect();
        let tokens = tokenizer.encode(&texts).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(tokens.shape, [texts.len(), tokenizer.length()], "{case}");
        for (row, (ids, mask)) in rows.iter().zip(tokens.rows()) {
            assert_eq!(ids, numbers(&row["input_ids"]), "{case}: {:?}", row["text"]);
            let mask: Vec<u32> = mask.iter().map(|&is_token| is_token.into()).collect();
            assert!(row["attention_mask"].is_null() || mask == numbers(&row["attention_mask"]), "{case}: {:?}", row["text"]);
        }
    }
}

/// 1,000 strings, of which `tests/tokens/make.py` has written the ids by transformers.
#[test]
fn odd_strings_have_the_ids_of_the_reference() {
    // More tokens than those of the cases, so that more of each string counts.
    const LENGTH: usize = 77;
    let packed = std::fs::File::open(path("tests/fixtures/tokenizers/strings.jsonl.gz")).expect("strings");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut lines).expect("text");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 1000);
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().expect("a text")).collect();
    for case in CASES.into_iter().chain(["clip_added", "siglip_bytes"]) {
        let folder = copy(case);
        change(&folder, "tokenizer_config.json", |config| config["model_max_length"] = LENGTH.into());
        change(&folder, "config.json", |config| match config.get_mut("text_config") {
            Some(tower) => tower["max_position_embeddings"] = LENGTH.into(),
            None => config["max_position_embeddings"] = LENGTH.into(),
        });
        let tokens = Tokenizer::open(folder.path()).expect("a tokenizer").encode(&texts).unwrap_or_else(|error| panic!("{case}: {error}"));
        for (row, (ids, mask)) in rows.iter().zip(tokens.rows()) {
            let found: Vec<u32> = ids.iter().zip(mask).filter(|(_, is_token)| **is_token).map(|(id, _)| *id).collect();
            assert_eq!(found, numbers(&row[case]), "{case}: {:?}", row["text"]);
        }
    }
}

/// A copy of a tokenizer's folder, to be changed.
fn copy(case: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder(case)).expect("a case") {
        let file = entry.expect("an entry").path();
        std::fs::copy(&file, copy.path().join(file.file_name().expect("a name"))).expect("a file");
    }
    copy
}

fn change(folder: &TempDir, file: &str, by: impl FnOnce(&mut Value)) {
    let file = folder.path().join(file);
    let mut value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    by(&mut value);
    std::fs::write(file, value.to_string()).expect("it is written");
}
