//! Texts as open_clip prepares them before its tokenizers take them apart (`tokenizer.py`).
//!
//! open_clip also repairs texts by ftfy, such as wrongly decoded characters, curly quotes and ligatures, and HTML entities; here, they stay as they are.

use crate::data::error::Result;
use crate::execution::checkpoint::Object;

/// Padding of open_clip's own tokenizer. Nothing attends to it.
pub const PAD: u32 = 0;

/// Preparation of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaning {
    /// Single spaces, and none at the ends.
    Whitespace,
    /// The same in lower case.
    Lower,
    /// The same without punctuation.
    Canonical,
}

/// Returns the text tower in open_clip's configuration, or `None` for other configurations.
pub fn tower(model: &Object) -> Result<Option<Object>> {
    match model.object("model_cfg")? {
        Some(model) => model.object("text_cfg"),
        None => Ok(None),
    }
}

/// Whether a text tower has a tokenizer of transformers, rather than CLIP's.
pub fn is_of_transformers(tower: &Object) -> bool {
    tower.has("hf_tokenizer_name")
}

impl Cleaning {
    /// Reads the preparation of a text tower's texts.
    pub fn read(tower: &Object) -> Result<Cleaning> {
        let otherwise = if is_of_transformers(tower) { Cleaning::Whitespace } else { Cleaning::Lower };
        let Some(arguments) = tower.object("tokenizer_kwargs")? else { return Ok(otherwise) };
        match arguments.string("clean")? {
            None => Ok(otherwise),
            Some("whitespace") => Ok(Cleaning::Whitespace),
            Some("lower") => Ok(Cleaning::Lower),
            Some("canonicalize") => Ok(Cleaning::Canonical),
            Some(_) => Err(arguments.unsupported("clean", "whitespace, lower, canonicalize")),
        }
    }

    /// Whether cleaned texts are in lower case.
    pub fn is_lower(self) -> bool {
        self != Cleaning::Whitespace
    }

    pub fn clean(self, text: &str) -> String {
        let text = match self {
            Cleaning::Whitespace => text.to_owned(),
            Cleaning::Lower => text.to_lowercase(),
            Cleaning::Canonical => text.replace('_', " ").replace(|c: char| c.is_ascii_punctuation(), "").to_lowercase(),
        };
        joined(&text)
    }
}

/// Returns a text with single spaces, and none at its ends.
pub fn joined(text: &str) -> String {
    // Those of Python, which has four separators more.
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
