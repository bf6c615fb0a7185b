//! Added tokens: those found in a text before it is taken apart, such as special ones. From `tokenizer_config.json`, or the older
//! `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`.

use super::kind::Kind;
use super::messages::wrong;
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

/// Further special tokens, under the current name and the former one, which counts if the current one has none.
const EXTRA: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// Special tokens by names of the model's own. They count if the file has none outside of it, such as `image_token`.
const OF_MODEL: &str = "model_specific_special_tokens";

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
    /// All of them, in the order in which they are added. Of equal ones, the last one is found in texts.
    pub all: Vec<Added>,
}

impl AddedTokens {
    /// Returns the tokens before and after a text of CLIP.
    pub fn ends(&self) -> [Vec<String>; 2] {
        [self.bos.iter().cloned().collect(), vec![self.eos.clone()]]
    }

    /// Reads a folder's added tokens. `stored` are those of `tokenizer.json`.
    pub fn read(folder: &Folder, kind: Kind, config: Option<&Object>, stored: &[Stated]) -> Result<AddedTokens> {
        if let Some(config) = config
            && kind != Kind::OpenClip
            && config.bool("split_special_tokens")? == Some(true)
        {
            return Err(config.unsupported("split_special_tokens", "false"));
        }
        let mut special = Special::of(kind);
        config.map(|config| special.take(config)).transpose()?;
        let declared = match config.map(|config| config.object("added_tokens_decoder")).transpose()?.flatten() {
            Some(decoder) => declared(&decoder)?,
            None => formerly_declared(folder, &mut special, stored)?,
        };
        let Special { named, extra } = special;
        let known: HashSet<String> = declared.values().map(|token| token.content.clone()).collect();
        let of_class = |name: &str| named.get(name).map(|token| token.content.clone()).expect("each class has it by default");
        let (bos, [eos, unk, pad]) =
            (named.get("bos_token").map(|token| token.content.clone()), ["eos_token", "unk_token", "pad_token"].map(of_class));
        let rest = NAMES.into_iter().filter_map(|name| named.get(name)).chain(&extra).filter(|token| !known.contains(&token.content));
        let rest: Vec<Added> = rest.map(|token| Added { id: None, token: token.clone() }).collect();
        let mut all: Vec<Added> = declared.into_iter().map(|(id, token)| Added { id: Some(id), token }).chain(rest).collect();
        let names: HashSet<&str> = named.values().map(|token| token.content.as_str()).collect();
        all.iter_mut().for_each(|added| added.token.special |= names.contains(added.token.content.as_str()));
        if all.len() > MOST || all.iter().any(|added| added.token.content.len() > LONGEST) {
            let message = format!("expected at most {MOST} added tokens of at most {LONGEST} bytes, found more or longer ones");
            return Err(Error::file(folder.path(), message));
        }
        check_spaces(&all).map_err(|message| Error::file(folder.path(), message))?;
        Ok(AddedTokens { bos, eos, unk, pad, all })
    }
}

/// Checks that no token takes white space in which another one begins: the `tokenizers` crate panics at that, and takes quadratic time where a token of white
/// space takes what is before it.
fn check_spaces(all: &[Added]) -> std::result::Result<(), String> {
    let Some(space) = all.iter().map(|added| &added.token).find(|token| token.content.starts_with(char::is_whitespace)) else { return Ok(()) };
    match all.iter().map(|added| &added.token).find(|token| token.rstrip || token.lstrip && token.content.starts_with(char::is_whitespace)) {
        None => Ok(()),
        Some(token) => Err(format!(
            "the added token {:?} begins with white space, which {:?} takes by lstrip or rstrip; set these to false",
            space.content, token.content
        )),
    }
}

/// Special tokens.
struct Special {
    named: BTreeMap<&'static str, AddedToken>,
    extra: Vec<AddedToken>,
}

impl Special {
    /// Returns those that a class has by default.
    fn of(kind: Kind) -> Special {
        let defaults = kind.defaults();
        let defaults = [defaults.bos, Some(defaults.eos), Some(defaults.unk), None, Some(defaults.pad), None, defaults.mask];
        let named = NAMES.into_iter().zip(defaults).filter_map(|(name, token)| Some((name, AddedToken::from(token?, true))));
        Special { named: named.collect(), extra: Vec::new() }
    }

    /// Takes those of a file, which override others of the same name.
    fn take(&mut self, file: &Object) -> Result<()> {
        for name in NAMES {
            if let Some(value) = file.get(name) {
                self.named.insert(name, token(file, name, value, true)?);
            }
        }
        let own = file.keys().filter(|key| key.ends_with("_token") && !NAMES.contains(key)).filter_map(|key| Some((key, file.get(key)?)));
        let mut found: Vec<(&str, &Value)> = own.filter(|(_, value)| value.is_string() || value.get("__type").is_some()).collect();
        let extra = EXTRA.into_iter().find_map(|key| Some((key, file.get(key).filter(|value| !is_empty(value))?)));
        match extra {
            Some((key, Value::Object(map))) => found.extend(map.values().map(|value| (key, value))),
            Some((_, Value::Array(_))) | None => {}
            Some((key, _)) => return Err(file.wrong(key, "a list of tokens")),
        }
        if found.is_empty() {
            match file.get(OF_MODEL) {
                Some(Value::Object(map)) => found.extend(map.values().map(|value| (OF_MODEL, value))),
                Some(_) => return Err(file.wrong(OF_MODEL, "an object of tokens")),
                None => {}
            }
        }
        if let Some((key, Value::Array(list))) = extra {
            found.extend(list.iter().map(|value| (key, value)));
        }
        if !found.is_empty() {
            self.extra = found.into_iter().map(|(key, value)| token(file, key, value, true)).collect::<Result<_>>()?;
        }
        Ok(())
    }
}

/// Whether a list or an object has no elements.
fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Reads tokens by their ids.
fn declared(decoder: &Object) -> Result<BTreeMap<u32, AddedToken>> {
    let mut declared = BTreeMap::new();
    for key in decoder.keys() {
        let id = key.parse().map_err(|_| wrong(decoder.path(), format_args!("added_tokens_decoder: expected ids as keys, found {key:?}")))?;
        let value = decoder.get(key).ok_or_else(|| decoder.wrong(key, "a token"))?;
        declared.insert(id, token(decoder, key, value, false)?);
    }
    Ok(declared)
}

/// Reads tokens by their ids as transformers kept them until 2023.
fn formerly_declared(folder: &Folder, special: &mut Special, stored: &[Stated]) -> Result<BTreeMap<u32, AddedToken>> {
    let mut declared = BTreeMap::new();
    if let Some(map) = folder.object(SPECIAL)? {
        special.take(&map)?;
    }
    if let Some(added) = folder.object(ADDED)? {
        let special: HashSet<&str> = special.named.values().chain(&special.extra).map(|token| token.content.as_str()).collect();
        for content in added.keys() {
            let id = added.get(content).and_then(Value::as_u64).and_then(|id| id.try_into().ok());
            declared.insert(id.ok_or_else(|| added.wrong(content, "an id"))?, AddedToken::from(content, special.contains(content)));
        }
    }
    declared.extend(stored.iter().filter_map(|stated| Some((stated.id?, stated.clone().token(false)))));
    Ok(declared)
}

/// Reads a token: a string, or an object. `special` holds if the object does not say.
fn token(file: &Object, key: &str, value: &Value, special: bool) -> Result<AddedToken> {
    match value {
        Value::String(content) => Ok(AddedToken::from(content, true)),
        Value::Object(_) => match Stated::deserialize(value) {
            Ok(stated) => Ok(stated.token(special)),
            Err(error) => Err(wrong(file.path(), format_args!("{key}: expected a token: {error}"))),
        },
        _ => Err(file.wrong(key, "a token: a string, or an object with content")),
    }
}
