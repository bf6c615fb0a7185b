//! `T5Tokenizer` of transformers 5, which open_clip's SigLIP has: words, each taken apart by a unigram model, with
//! the steps of the `tokenizers` crate around it.

use super::added::{AddedTokens, Stated};
use super::algorithm::Steps;
use super::capped::List;
use super::messages::wrong;
use super::prefixes::{LONGEST, Prefixes};
use super::replacements::Replacements;
use super::settings::{self, Sides};
use super::unigram::{Part, SPACE, Score, Unigram};
use super::vocabulary::tokenizer_file;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::Folder;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{NormalizedString, Normalizer, Token, TokenizerImpl};
use unicode_segmentation::UnicodeSegmentation;

/// Id of unknown pieces, whatever the file states.
const UNKNOWN: u32 = 2;

/// Bytes of a grapheme cluster from which its characters are replaced one by one.
const LONG: usize = 6;

/// `tokenizer.json`. Its other steps are those of the class, so they are not read.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct File {
    #[serde(default)]
    added_tokens: List<Stated>,
    padding: Option<settings::Stored>,
    truncation: Option<settings::Stored>,
    normalizer: Option<Step>,
    model: Stored,
}

/// A step of the normaliser.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Step {
    precompiled_charsmap: Option<String>,
    #[serde(default)]
    normalizers: List<Step>,
}

impl Step {
    /// Returns the table of this step, or the first one of the steps that it is made of.
    fn table(self) -> Option<String> {
        self.precompiled_charsmap.or_else(|| self.normalizers.0.into_iter().find_map(|step| step.precompiled_charsmap))
    }
}

#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Stored {
    vocab: List<(String, f64)>,
}

/// Vocabulary of a unigram model, and its table of replacements.
pub struct Vocabulary {
    path: PathBuf,
    pieces: Vec<(String, f64)>,
    replacements: Option<Replacements>,
    /// Added tokens in `tokenizer.json`.
    pub added: Vec<Stated>,
    /// Sides in `tokenizer.json`.
    pub sides: Sides,
}

impl Vocabulary {
    pub fn open(folder: &Folder) -> Result<Vocabulary> {
        let (path, file): (_, File) = tokenizer_file(folder)?;
        let table = file.normalizer.and_then(Step::table);
        let damaged = || Error::file(&path, "precompiled_charsmap: expected SentencePiece's table in base64; download the file again");
        let read = |table: String| BASE64_STANDARD.decode(table).ok().and_then(|table| Replacements::read(&table)).ok_or_else(damaged);
        let replacements = table.filter(|table| !table.is_empty()).map(read).transpose()?;
        let sides = Sides::stored(file.padding, file.truncation);
        Ok(Vocabulary { pieces: file.model.vocab.0, replacements, added: file.added_tokens.0, sides, path })
    }
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

/// A unigram model.
pub struct Model {
    unigram: Unigram<f64>,
    /// Pieces by their id.
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Model {
    fn new(pieces: Vec<(String, f64)>) -> std::result::Result<Model, String> {
        if pieces.len() <= UNKNOWN as usize {
            return Err(format!("expected a vocabulary with unknown pieces at {UNKNOWN}, found {} pieces", pieces.len()));
        }
        if let Some((piece, _)) = pieces.iter().find(|(piece, _)| piece.len() > LONGEST) {
            return Err(format!("expected pieces of at most {LONGEST} bytes, found one of {}", piece.len()));
        }
        let (pieces, scores): (Vec<String>, Vec<f64>) = pieces.into_iter().unzip();
        let numbered = || pieces.iter().cloned().zip(0..);
        let bounds = [scores.iter().copied().fold(f64::MAX, f64::min), scores.iter().copied().fold(f64::MIN, f64::max)];
        // Of equal pieces, the last one counts.
        let prefixes = Prefixes::new(numbered().collect::<Vec<_>>().into_iter().rev().collect());
        let unigram = Unigram { pieces: prefixes, scores: scores.into_iter().map(Score::Normal).collect(), bounds };
        Ok(Model { unigram, ids: numbered().collect(), pieces })
    }
}

impl tokenizers::Model for Model {
    type Trainer = UnigramTrainer;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        let mut end = 0;
        let token = |part: Part<'_>| {
            let id = part.piece.or_else(|| self.token_to_id(part.text)).unwrap_or(UNKNOWN);
            end += part.text.len();
            Token::new(id, part.text.to_owned(), (end - part.text.len(), end))
        };
        Ok(self.unigram.parts(text).into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.pieces.get(id as usize).cloned()
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.ids.clone()
    }

    fn get_vocab_size(&self) -> usize {
        self.pieces.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("tokenizers are read, not written".into())
    }

    fn get_trainer(&self) -> UnigramTrainer {
        UnigramTrainer::default()
    }
}

/// Returns a unigram model with the steps around it.
pub fn steps(vocabulary: Vocabulary, added: &AddedTokens) -> Result<Steps<Model, Clusters>> {
    let Vocabulary { path, pieces, replacements, .. } = vocabulary;
    let mut steps = TokenizerImpl::new(Model::new(pieces).map_err(|message| wrong(&path, message))?);
    let wrong = |error: tokenizers::Error| wrong(&path, error);
    steps.with_normalizer(replacements.map(Clusters)).map_err(wrong)?;
    let spaces = Metaspace::new(SPACE, PrependScheme::Always, true);
    steps.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), spaces.into()])));
    steps.add_tokens(added.all.iter().map(|added| added.token.clone())).map_err(wrong)?;
    Ok(Steps { path, steps })
}
