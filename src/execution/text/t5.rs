//! `T5Tokenizer` of transformers 5, which open_clip's SigLIP has: words, each taken apart by a unigram model of the `tokenizers` crate.

use super::added::{AddedTokens, Stated};
use super::algorithm::Steps;
use super::capped::List;
use super::messages::wrong;
use super::pieces::SPACE;
use super::replacements::Replacements;
use super::vocabulary::{LARGEST, TOKENIZER};
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::Folder;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::path::PathBuf;
use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{NormalizedString, Normalizer, TokenizerImpl};
use unicode_segmentation::UnicodeSegmentation;

/// Id of unknown pieces, whatever the file states.
const UNKNOWN: usize = 2;

/// Bytes of a grapheme cluster from which its characters are replaced one by one.
const LONG: usize = 6;

/// `tokenizer.json`. Its other steps are those of the class, so they are not read.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct File {
    #[serde(default)]
    added_tokens: List<Stated>,
    normalizer: Option<Step>,
    model: Model,
}

/// A step of the normaliser.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Step {
    precompiled_charsmap: Option<String>,
    #[serde(default)]
    normalizers: List<Step>,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Model {
    vocab: List<(String, f64)>,
}

/// Vocabulary of a unigram model, and its table of replacements.
pub struct Vocabulary {
    path: PathBuf,
    pieces: Vec<(String, f64)>,
    replacements: Option<Replacements>,
    /// Added tokens in `tokenizer.json`.
    pub added: Vec<Stated>,
}

impl Vocabulary {
    pub fn open(folder: &Folder) -> Result<Vocabulary> {
        if !folder.has(TOKENIZER) {
            return Err(Error::file(folder.path(), format!("no tokenizer; expected {TOKENIZER}")));
        }
        let path = folder.path().join(TOKENIZER);
        let file: File = serde_json::from_slice(&folder.read(TOKENIZER, LARGEST)?).map_err(|error| wrong(&path, error))?;
        let table = file.normalizer.and_then(|step| std::iter::once(step.precompiled_charsmap).chain(nested(step.normalizers)).flatten().next());
        let damaged = || Error::file(&path, "precompiled_charsmap: expected SentencePiece's table in base64; download the file again");
        let read = |table: String| BASE64_STANDARD.decode(table).ok().and_then(|table| Replacements::read(&table)).ok_or_else(damaged);
        let replacements = table.filter(|table| !table.is_empty()).map(read).transpose()?;
        Ok(Vocabulary { pieces: file.model.vocab.0, replacements, added: file.added_tokens.0, path })
    }
}

fn nested(steps: List<Step>) -> impl Iterator<Item = Option<String>> {
    steps.0.into_iter().map(|step| step.precompiled_charsmap)
}

/// A table that replaces grapheme clusters, or their characters, as that of the `tokenizers` crate, which panics if the table is damaged.
pub struct Clusters(Replacements);

impl Normalizer for Clusters {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let mut normalized = String::new();
        for cluster in text.get().graphemes(true) {
            match self.replaced(cluster).filter(|_| cluster.len() < LONG) {
                Some(replacement) => normalized.push_str(replacement),
                None => cluster.split_inclusive(|_| true).for_each(|c| normalized.push_str(self.replaced(c).unwrap_or(c))),
            }
        }
        *text = NormalizedString::from(normalized);
        Ok(())
    }
}

impl Clusters {
    /// Returns what a text becomes, by the shortest replaced string that it begins with.
    fn replaced<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        self.0.of(text).next().map(|(_, replacement)| replacement)
    }
}

/// Returns a unigram model with the steps around it.
pub fn steps(vocabulary: Vocabulary, added: &AddedTokens) -> Result<Steps<Unigram, Clusters>> {
    let Vocabulary { path, pieces, replacements, .. } = vocabulary;
    let wrong = |error: tokenizers::Error| wrong(&path, error);
    let mut steps = TokenizerImpl::new(Unigram::from(pieces, Some(UNKNOWN), false).map_err(wrong)?);
    steps.with_normalizer(replacements.map(Clusters)).map_err(wrong)?;
    let spaces = Metaspace::new(SPACE, PrependScheme::Always, true);
    steps.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), spaces.into()])));
    steps.add_tokens(added.all.iter().map(|added| added.token.clone())).map_err(wrong)?;
    Ok(Steps { path, steps })
}
