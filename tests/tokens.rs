//! Tokenizers against those of transformers.

use crate::support::{json, path};
use serde_json::Value;
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
