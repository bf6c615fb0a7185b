//! `SimpleTokenizer` of open_clip: CLIP's byte-pair encoding, with words and special tokens as in OpenAI's original.

use super::added::{Added, AddedTokens};
use super::algorithm::Steps;
use super::bpe::{self, CLIP_SUFFIX};
use super::messages::wrong;
use super::open_clip::Cleaning;
use super::vocabulary::Vocabulary;
use crate::data::error::Result;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Model, NormalizedString, Normalizer, Token, TokenizerImpl};

/// Special tokens in texts: the start and the end, whatever the files call them.
const SPECIAL: [&str; 2] = ["<start_of_text>", "<end_of_text>"];

/// Words: special tokens, contractions, letters, a digit, other characters. Python's `regex` ignores case as this does; of its classes, U+0345 then is in
/// none.
const WORDS: &str = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+";

/// Byte-pair encoding of words, some of which are special tokens.
pub struct Simple {
    bpe: BPE,
    special: Vec<(&'static str, u32)>,
}

impl Model for Simple {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self.special.iter().find(|(name, _)| *name == word) {
            Some((name, id)) => Ok(vec![Token::new(*id, (*name).to_owned(), (0, name.len()))]),
            None => self.bpe.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.bpe.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.bpe.id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.bpe.get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.bpe.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.bpe.save(folder, prefix)
    }

    fn get_trainer(&self) -> BpeTrainer {
        self.bpe.get_trainer()
    }
}

/// Composes characters, as open_clip does first, then cleans.
impl Normalizer for Cleaning {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        text.nfc();
        *text = NormalizedString::from(self.clean(text.get()));
        Ok(())
    }
}

/// Returns the encoding with the steps around it.
pub fn steps(mut vocabulary: Vocabulary, added: &AddedTokens, cleaning: Cleaning) -> Result<Steps<Simple, Cleaning>> {
    let path = vocabulary.path.clone();
    let wrong = |error: tokenizers::Error| wrong(&path, error);
    let ends = [added.bos.as_ref(), Some(&added.eos)];
    // Some vocabularies have them as added tokens only. No others are found in texts.
    for Added { id, token } in &added.all {
        if let Some(id) = id.filter(|_| ends.contains(&Some(&token.content))) {
            vocabulary.ids.entry(token.content.clone()).or_insert(id);
        }
    }
    let id = |token: Option<&String>| vocabulary.ids.get(token?).copied();
    let special = SPECIAL.into_iter().zip(ends).filter_map(|(name, token)| Some((name, id(token)?))).collect();
    let bpe = bpe::builder(vocabulary, added).end_of_word_suffix(CLIP_SUFFIX.to_owned()).build().map_err(wrong)?;
    let mut steps = TokenizerImpl::new(Simple { bpe, special });
    steps.with_normalizer(Some(cleaning)).map_err(wrong)?;
    steps.with_pre_tokenizer(Some(bpe::words(WORDS, ByteLevel::default().use_regex(false)).map_err(wrong)?));
    Ok(Steps { path, steps })
}
