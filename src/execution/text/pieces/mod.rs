//! `SiglipTokenizer` of transformers: text without capitals and punctuation, taken apart by SentencePiece's unigram model.

mod model;
mod normalizer;
mod proto;

use super::added::{Added, AddedTokens};
use super::algorithm::Algorithm;
use super::open_clip::joined;
use super::prefixes::Prefixes;
use super::unigram::SPACE;
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::Folder;
use model::Model;
use std::collections::{HashMap, HashSet};

/// File of the model.
pub const MODEL: &str = "spiece.model";

/// Maximum bytes of a model: four times those of the multilingual SigLIP.
pub const LARGEST: u64 = 16 << 20;

/// SentencePiece with the steps around it.
pub struct Pieces {
    model: Model,
    /// Ids of tokens that are found in a text before it is taken apart.
    added: HashMap<String, u32>,
    /// The same, to be found.
    found: Prefixes,
    /// Added tokens that are found only between spaces.
    alone: HashSet<String>,
    lower_case: bool,
    /// Text put in front of each stretch, and the number of its tokens, which are dropped again: SentencePiece ignores spaces at a start.
    lead: (String, usize),
}

impl Pieces {
    pub fn open(folder: &Folder, tokens: &AddedTokens, lower_case: bool) -> Result<Pieces> {
        let path = folder.path().join(MODEL);
        if !folder.has(MODEL) {
            return Err(Error::file(path, "no such file; SigLIP's tokenizer is read from it, not from tokenizer.json"));
        }
        let model = Model::parse(&folder.read(MODEL, LARGEST)?).map_err(|message| Error::file(&path, message))?;
        let mut added: HashMap<String, u32> = HashMap::new();
        let mut new = model.len();
        for Added { id, token } in &tokens.all {
            added.entry(token.content.clone()).or_insert_with(|| {
                id.or_else(|| model.id(&token.content)).unwrap_or_else(|| {
                    new += 1;
                    new - 1
                })
            });
        }
        let found = Prefixes::new(added.clone().into_iter().collect());
        let alone = tokens.all.iter().filter(|added| added.token.single_word).map(|added| added.token.content.clone()).collect();
        let mut pieces = Pieces { model, added, found, alone, lower_case, lead: (tokens.unk.clone(), 0) };
        pieces.lead.1 = pieces.stretch("").len();
        Ok(pieces)
    }

    /// Returns the ids of a stretch between added tokens.
    fn stretch(&self, text: &str) -> Vec<u32> {
        let (lead, count) = &self.lead;
        let mut ids = self.model.ids(&format!("{lead}{}", self.canonical(text)));
        if ids.len() >= *count {
            ids.drain(..count);
        }
        ids
    }

    /// Returns added tokens and the stretches between them. Tokens that have to stand alone, but do not, are parts of their neighbours.
    fn parts(&self, text: &str) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        let (mut start, mut end) = (0, 0);
        while let Some(c) = text[end..].chars().next() {
            match self.found.longest(&text[end..]) {
                None => end += c.len_utf8(),
                Some((len, _)) => {
                    parts.extend([&text[start..end], &text[end..end + len]].into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
                    end += len;
                    start = end;
                }
            }
        }
        parts.push(text[start..].to_owned());
        for i in 0..parts.len() {
            if !self.alone.contains(&parts[i]) {
                continue;
            }
            let touches = |c: Option<char>| c.is_some_and(|c| c != ' ');
            let word = std::mem::take(&mut parts[i]);
            if i > 0 && touches(parts[i - 1].chars().next_back()) {
                parts[i - 1].push_str(&word);
            } else if touches(parts.get(i + 1).and_then(|part| part.chars().next())) {
                parts[i + 1].insert_str(0, &word);
            } else {
                parts[i] = word;
            }
        }
        parts
    }

    /// Returns a text without punctuation, with single spaces and none at its ends.
    fn canonical(&self, text: &str) -> String {
        let text = if self.lower_case { text.to_lowercase() } else { text.to_owned() };
        joined(&text.replace(|c: char| c.is_ascii_punctuation(), ""))
    }
}

impl Algorithm for Pieces {
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for part in self.parts(&format!("{SPACE}{}", text.replace(SPACE, " "))).iter().filter(|part| !part.is_empty()) {
            match self.added.get(part) {
                Some(id) => ids.push(*id),
                None => ids.extend(self.stretch(part)),
            }
        }
        Ok(ids)
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.added.get(token).copied().or_else(|| self.model.id(token))
    }

    fn token(&self, id: u32) -> Option<String> {
        let added = self.added.iter().find(|(_, added)| **added == id);
        added.map(|(token, _)| token.clone()).or_else(|| self.model.piece(id))
    }
}
