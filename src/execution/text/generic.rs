//! Generic classes of transformers, which run the steps of `tokenizer.json` as they stand. Here, the steps are those of a class, so the file's have to be
//! the same.

use super::added::AddedTokens;
use super::bpe::{CLIP_SUFFIX, SPECIAL_WORDS, WORDS};
use super::capped::List;
use super::kind::Kind;
use super::messages::brief;
use super::open_clip::Cleaning;
use super::vocabulary::tokenizer_file;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::{Folder, Object};
use serde::Deserialize;
use std::fmt;

/// Names of the classes.
pub const CLASSES: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// Whether transformers runs a folder's `tokenizer.json` as it stands.
pub fn applies(config: Option<&Object>, model: Option<&Object>) -> Result<bool> {
    let class = config.map(|config| config.string("tokenizer_class")).transpose()?.flatten();
    let model_type = model.map(|model| model.string("model_type")).transpose()?.flatten();
    // For these models, transformers takes Siglip2Tokenizer whatever the file names.
    Ok(class.is_some_and(|class| CLASSES.contains(&class)) && model_type != Some("siglip2"))
}

/// `tokenizer.json`, without the vocabulary.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct File {
    normalizer: Option<Step>,
    pre_tokenizer: Option<Step>,
    padding: Option<Padding>,
    model: Model,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Padding {
    pad_token: Option<String>,
}

/// Settings of byte-pair encoding. Older files lack some.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Model {
    #[serde(rename = "type")]
    algorithm: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

/// A step of the normaliser or of the division into words.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Step {
    #[serde(rename = "type")]
    name: String,
    pattern: Option<Pattern>,
    content: Option<String>,
    behavior: Option<String>,
    invert: Option<bool>,
    add_prefix_space: Option<bool>,
    use_regex: Option<bool>,
    #[serde(default)]
    normalizers: List<Step>,
    #[serde(default)]
    pretokenizers: List<Step>,
}

#[derive(Deserialize)]
enum Pattern {
    Regex(String),
    String(String),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Regex(pattern) => write!(f, "/{pattern}/"),
            Pattern::String(text) => write!(f, "{text:?}"),
        }
    }
}

/// Writes the step in one line, equal for equal steps.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == "Sequence" {
            let steps: Vec<String> = self.normalizers.0.iter().chain(&self.pretokenizers.0).map(Step::to_string).collect();
            return f.write_str(&steps.join(", "));
        }
        f.write_str(&self.name)?;
        self.pattern.iter().try_for_each(|pattern| write!(f, " {pattern}"))?;
        self.content.iter().try_for_each(|content| write!(f, " {content:?}"))?;
        self.behavior.iter().try_for_each(|behavior| write!(f, " {behavior}"))?;
        let flags = [(self.invert, true, " inverted"), (self.add_prefix_space, true, " after a space"), (self.use_regex, false, " without words")];
        flags.into_iter().filter(|(flag, unusual, _)| *flag == Some(*unusual)).try_for_each(|(_, _, words)| f.write_str(words))
    }
}

/// A part of the file: its name, what is expected (any of these), and what is found.
type Part = (&'static str, Vec<String>, String);

/// Checks that the steps of `tokenizer.json` are those of the kind. Returns the special tokens among the words that it divides texts into.
///
/// # Errors
/// [`Error::Unsupported`] if they are others.
pub fn check(folder: &Folder, kind: Kind, config: Option<&Object>, cleaning: Option<Cleaning>, added: &AddedTokens) -> Result<&'static str> {
    // These would replace the special tokens that the file puts around texts.
    for key in ["add_bos_token", "add_eos_token"] {
        if let Some(config) = config.filter(|config| config.get(key).is_some()) {
            return Err(config.unsupported(key, "for a generic class, tokens around texts by post_processor only; remove this key"));
        }
    }
    let (path, file): (_, File) = tokenizer_file(folder)?;
    let (suffix, is_gemma) = if kind == Kind::Clip { (CLIP_SUFFIX, false) } else { ("", true) };
    let (model, division) = (file.model, written(file.pre_tokenizer));
    let special = if division.contains(SPECIAL_WORDS) { SPECIAL_WORDS } else { "" };
    let mut parts: Vec<Part> = vec![
        ("normalizer", normalizers(kind, cleaning), written(file.normalizer)),
        ("pre_tokenizer", divisions(kind), division),
        ("model.type", vec!["BPE".to_owned()], model.algorithm.unwrap_or("BPE".to_owned())),
        ("model.dropout", vec!["0".to_owned()], model.dropout.unwrap_or(0.0).to_string()),
        ("model.unk_token", vec![added.unk.clone()], model.unk_token.unwrap_or_default()),
        ("model.continuing_subword_prefix", vec![String::new()], model.continuing_subword_prefix.unwrap_or_default()),
        ("model.end_of_word_suffix", vec![suffix.to_owned()], model.end_of_word_suffix.unwrap_or_default()),
        ("model.fuse_unk", vec![is_gemma.to_string()], model.fuse_unk.unwrap_or(false).to_string()),
        ("model.byte_fallback", vec![is_gemma.to_string()], model.byte_fallback.unwrap_or(false).to_string()),
        ("model.ignore_merges", vec![false.to_string()], model.ignore_merges.unwrap_or(false).to_string()),
    ];
    // The file's padding has the token unless tokenizer_config.json does.
    if config.is_none_or(|config| config.get("pad_token").is_none())
        && let Some(token) = file.padding.and_then(|padding| padding.pad_token)
    {
        parts.push(("padding.pad_token", vec![added.pad.clone()], token));
    }
    match parts.into_iter().find(|(_, expected, found)| !expected.contains(found)) {
        None => Ok(special),
        Some((part, expected, found)) => Err(Error::unsupported(
            &path,
            brief(format_args!("{part}: found {found:?}, which a generic tokenizer_class runs; supported: {:?}", expected[0])),
        )),
    }
}

fn written(step: Option<Step>) -> String {
    step.map_or("none".to_owned(), |step| step.to_string())
}

/// Normalisers that give what the kind's gives.
fn normalizers(kind: Kind, cleaning: Option<Cleaning>) -> Vec<String> {
    if kind == Kind::Clip {
        return vec![r#"NFC, Replace /\s+/ " ", Lowercase"#.to_owned()];
    }
    let spaces = r#"Replace " " "▁""#;
    let without_capitals = cleaning.is_some_and(Cleaning::is_lower).then(|| spaces.to_owned());
    [format!("Lowercase, {spaces}")].into_iter().chain(without_capitals).collect()
}

/// Divisions into words that give what the kind's gives.
fn divisions(kind: Kind) -> Vec<String> {
    match kind {
        // transformers 4 leaves special tokens out. They are found before, unless in capitals.
        Kind::Clip => [SPECIAL_WORDS, ""].map(|special| format!("Split /{special}{WORDS}/ Removed inverted, ByteLevel")).into(),
        _ => vec![r#"Split " " MergedWithPrevious"#.to_owned(), "none".to_owned()],
    }
}
