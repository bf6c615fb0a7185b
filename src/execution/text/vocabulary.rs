//! Vocabularies of BPE: `tokenizer.json`, or `vocab.json` with `merges.txt`.

use super::added::Stated;
use super::capped::{List, MOST, Map};
use super::kind::Kind;
use super::messages::wrong;
use super::processor::Processor;
use super::settings::{Sides, Stored};
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::Folder;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::path::PathBuf;
use tokenizers::models::bpe::Vocab;

pub const TOKENIZER: &str = "tokenizer.json";
pub const VOCABULARY: &str = "vocab.json";
pub const MERGES: &str = "merges.txt";

/// Maximum bytes of a vocabulary: twice Gemma's `tokenizer.json`.
pub const LARGEST: u64 = 64 << 20;

/// A vocabulary of BPE.
pub struct Vocabulary {
    /// File named in messages.
    pub path: PathBuf,
    pub ids: Vocab,
    /// Pairs of tokens, the first to be merged first.
    pub merges: Vec<Merge>,
    /// Added tokens in `tokenizer.json`.
    pub added: Vec<Stated>,
    /// Step that adds special tokens, if the file has one.
    pub processor: Option<Processor>,
    /// Sides in `tokenizer.json`.
    pub sides: Sides,
}

/// `tokenizer.json`. Its other steps are those of the class, so they are not read.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct File {
    #[serde(default)]
    added_tokens: List<Stated>,
    padding: Option<Stored>,
    truncation: Option<Stored>,
    post_processor: Option<Processor>,
    model: Model,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Model {
    vocab: Map<u32>,
    merges: List<Merge>,
}

/// A pair of tokens to merge: `["a", "b"]`, or `"a b"`.
pub struct Merge(pub String, pub String);

impl Merge {
    fn parse(line: &str) -> Option<Merge> {
        let (left, right) = line.split_once(' ')?;
        (!right.contains(' ')).then(|| Merge(left.to_owned(), right.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Merge, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "two tokens")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> std::result::Result<Merge, E> {
                Merge::parse(line).ok_or_else(|| E::custom("expected two tokens with a space between them"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Merge, A::Error> {
                match (from.next_element()?, from.next_element()?, from.next_element::<de::IgnoredAny>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(de::Error::custom("expected two tokens")),
                }
            }
        }
        from.deserialize_any(Pair)
    }
}

/// Reads a folder's `tokenizer.json`. Returns its path too.
pub fn tokenizer_file<T: DeserializeOwned>(folder: &Folder) -> Result<(PathBuf, T)> {
    if !folder.has(TOKENIZER) {
        return Err(Error::file(folder.path(), format!("no tokenizer; expected {TOKENIZER}")));
    }
    let path = folder.path().join(TOKENIZER);
    let file = serde_json::from_slice(&folder.read(TOKENIZER, LARGEST)?).map_err(|error| wrong(&path, error))?;
    Ok((path, file))
}

impl Vocabulary {
    /// Reads a folder's vocabulary.
    pub fn open(folder: &Folder, kind: Kind) -> Result<Vocabulary> {
        match kind {
            Kind::Clip | Kind::OpenClip if !folder.has(TOKENIZER) && folder.has(VOCABULARY) && folder.has(MERGES) => Vocabulary::of_parts(folder),
            Kind::Clip | Kind::OpenClip if !folder.has(TOKENIZER) => {
                Err(Error::file(folder.path(), format!("no tokenizer; expected {TOKENIZER}, or {VOCABULARY} and {MERGES}")))
            }
            _ => Vocabulary::of_tokenizer(folder),
        }
    }

    fn of_tokenizer(folder: &Folder) -> Result<Vocabulary> {
        let (path, file): (_, File) = tokenizer_file(folder)?;
        Vocabulary {
            path,
            ids: file.model.vocab.0.into_iter().collect(),
            merges: file.model.merges.0,
            added: file.added_tokens.0,
            processor: file.post_processor,
            sides: Sides::stored(file.padding, file.truncation),
        }
        .checked()
    }

    fn of_parts(folder: &Folder) -> Result<Vocabulary> {
        let [path, merges] = [VOCABULARY, MERGES].map(|file| folder.path().join(file));
        let ids: Map<u32> = serde_json::from_slice(&folder.read(VOCABULARY, LARGEST)?).map_err(|error| wrong(&path, error))?;
        let text = String::from_utf8(folder.read(MERGES, LARGEST)?).map_err(|_| Error::file(&merges, "expected text in UTF-8"))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
        let parse = |(i, line): (usize, &str)| {
            Merge::parse(line)
                .ok_or_else(|| wrong(&merges, format_args!("line {}: expected two tokens with a space between them, found {line:?}", i + 1)))
        };
        let pairs: Vec<Merge> = lines.take(MOST + 1).map(parse).collect::<Result<_>>()?;
        match pairs.len() > MOST {
            true => Err(Error::file(&merges, format!("more than {MOST} lines, which no such file should have"))),
            false => {
                let ids = ids.0.into_iter().collect();
                Vocabulary { path, ids, merges: pairs, added: Vec::new(), processor: None, sides: Sides::default() }.checked()
            }
        }
    }

    /// Checks what the `tokenizers` crate takes for granted: no merge is longer than each token, and added tokens can be numbered after the others. It
    /// reports merges that make no token.
    fn checked(self) -> Result<Vocabulary> {
        if self.ids.is_empty() {
            return Err(Error::file(&self.path, "the vocabulary is empty; download it again"));
        }
        if let Some((token, id)) = self.ids.iter().find(|(_, id)| **id as usize >= MOST) {
            return Err(wrong(&self.path, format_args!("expected ids below {MOST}, found {id} of token {token:?}")));
        }
        let longest = self.ids.keys().map(String::len).max().unwrap_or(0);
        let makes_none = |Merge(left, right): &&Merge| left.len() + right.len() > longest;
        match self.merges.iter().find(makes_none) {
            Some(Merge(left, right)) => Err(wrong(&self.path, format_args!("merging {left:?} and {right:?} makes no token of the vocabulary"))),
            None => Ok(self),
        }
    }
}
