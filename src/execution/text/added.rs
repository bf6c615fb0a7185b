//! Added tokens: those found in a text before it is taken apart, such as special ones. From `tokenizer_config.json`, or the older
//! `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`.

use super::kind::Kind;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::{Folder, Object};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use tokenizers::AddedToken;

/// Older files of special and other added tokens.
pub const SPECIAL: &str = "special_tokens_map.json";
pub const ADDED: &str = "added_tokens.json";

/// Special tokens, in the order in which transformers adds those that the vocabulary lacks.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Further special tokens, under the current name and the former one.
const EXTRA: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// Maximum number of added tokens, hundreds of times Gemma's.
const MOST: usize = 1 << 16;
/// Maximum bytes of an added token.
const LONGEST: usize = 256;

/// A token that is found before the text is taken apart.
#[derive(Clone, Debug)]
pub struct Added {
    /// Declared id.
    pub id: Option<u32>,
    pub token: AddedToken,
}

/// A token as the files state it.
#[derive(Clone, Deserialize)]
pub struct Stated {
    id: Option<u32>,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    special: Option<bool>,
}

impl Stated {
    /// Returns the token, which is special if `otherwise` says so and the file does not say.
    fn token(self, otherwise: bool) -> AddedToken {
        let special = self.special.unwrap_or(otherwise);
        let token = AddedToken::from(self.content, special).single_word(self.single_word).lstrip(self.lstrip).rstrip(self.rstrip);
        token.normalized(self.normalized.unwrap_or(!special))
    }
}

/// Special and other added tokens.
pub struct AddedTokens {
    pub bos: Option<String>,
    pub eos: String,
    pub unk: String,
    pub pad: String,
    /// All of them, in the order in which they are added.
    pub all: Vec<Added>,
}

impl AddedTokens {
    /// Reads a folder's added tokens. `stored` are those of `tokenizer.json`.
    pub fn read(folder: &Folder, kind: Kind, config: Option<&Object>, stored: &[Stated]) -> Result<AddedTokens> {
        let mut named: BTreeMap<&str, AddedToken> = BTreeMap::new();
        let defaults = kind.defaults();
        let defaults = [defaults.bos, Some(defaults.eos), Some(defaults.unk), None, Some(defaults.pad), None, defaults.mask];
        named.extend(NAMES.into_iter().zip(defaults).filter_map(|(name, token)| Some((name, AddedToken::from(token?, true)))));
        let mut extra = Vec::new();
        let mut declared: BTreeMap<u32, AddedToken> = BTreeMap::new();
        if let Some(config) = config {
            take_special(config, &mut named, &mut extra)?;
        }
        match config.map(|config| config.object("added_tokens_decoder")).transpose()?.flatten() {
            Some(decoder) => {
                for key in decoder.keys() {
                    let id = key.parse().map_err(|_| decoder.error(format!("added_tokens_decoder: expected ids as keys, found {key:?}")))?;
                    declared.insert(id, token(&decoder, key, decoder.get(key), false)?);
                }
            }
            None => {
                if let Some(map) = folder.object(SPECIAL)? {
                    take_special(&map, &mut named, &mut extra)?;
                }
                if let Some(added) = folder.object(ADDED)? {
                    let special: HashSet<&str> = named.values().chain(&extra).map(|token| token.content.as_str()).collect();
                    for content in added.keys() {
                        let id = added.get(content).and_then(Value::as_u64).and_then(|id| id.try_into().ok());
                        let id = id.ok_or_else(|| added.wrong(content, "an id"))?;
                        declared.insert(id, AddedToken::from(content, special.contains(content)));
                    }
                }
                declared.extend(stored.iter().filter_map(|stated| Some((stated.id?, stated.clone().token(false)))));
            }
        }
        let special = |name: &str| named.get(name).map(|token| token.content.clone());
        let [bos, eos, unk, pad] = ["bos_token", "eos_token", "unk_token", "pad_token"].map(special);
        let names: HashSet<String> = named.values().map(|token| token.content.clone()).collect();
        let mut seen = HashSet::new();
        let mut all: Vec<Added> = declared.into_iter().map(|(id, token)| Added { id: Some(id), token }).collect();
        let rest = NAMES.into_iter().filter_map(|name| named.get(name).cloned()).chain(extra);
        seen.extend(all.iter().map(|added| added.token.content.clone()));
        all.extend(rest.filter(|token| seen.insert(token.content.clone())).map(|token| Added { id: None, token }));
        all.iter_mut().for_each(|added| added.token.special |= names.contains(&added.token.content));
        let is_long = |added: &Added| added.token.content.len() > LONGEST;
        if all.len() > MOST || all.iter().any(is_long) {
            return Err(Error::file(
                folder.path(),
                format!("expected at most {MOST} added tokens of at most {LONGEST} bytes, found more or longer ones"),
            ));
        }
        let known = "a class has these by default";
        Ok(AddedTokens { bos, eos: eos.expect(known), unk: unk.expect(known), pad: pad.expect(known), all })
    }
}

/// Reads the special tokens of a file.
fn take_special(file: &Object, named: &mut BTreeMap<&str, AddedToken>, extra: &mut Vec<AddedToken>) -> Result<()> {
    for name in NAMES {
        if let Some(value) = file.get(name) {
            named.insert(name, token(file, name, Some(value), true)?);
        }
    }
    let Some(key) = EXTRA.into_iter().find(|key| file.get(key).is_some()) else { return Ok(()) };
    let tokens: Vec<&Value> = match file.get(key) {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::Object(map)) => map.values().collect(),
        _ => return Err(file.wrong(key, "a list of tokens")),
    };
    for value in tokens {
        extra.push(token(file, key, Some(value), true)?);
    }
    Ok(())
}

/// Reads a token: a string, or an object. `special` holds if the object does not say.
fn token(file: &Object, key: &str, value: Option<&Value>, special: bool) -> Result<AddedToken> {
    match value {
        Some(Value::String(content)) => Ok(AddedToken::from(content, true)),
        Some(value @ Value::Object(_)) => match Stated::deserialize(value) {
            Ok(stated) => Ok(stated.token(special)),
            Err(error) => Err(file.error(format!("{key}: expected a token: {error}"))),
        },
        _ => Err(file.wrong(key, "a token: a string, or an object with content")),
    }
}
