//! Tokenizers of text towers: from texts to the ids that CLIP, SigLIP and SigLIP 2 take, as transformers makes them.

mod added;
mod algorithm;
mod bpe;
mod capped;
mod generic;
mod kind;
mod messages;
mod open_clip;
mod pieces;
mod prefixes;
mod processor;
mod replacements;
mod settings;
mod simple;
mod t5;
mod unigram;
mod vocabulary;

use super::checkpoint::{Folder, LARGEST_JSON, configuration};
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
use super::hub::{self, File};
use crate::data::error::{Error, Result};
use crate::data::tokens::Tokens;
use added::AddedTokens;
use algorithm::Algorithm;
use kind::Kind;
use messages::wrong;
use open_clip::Cleaning;
use pieces::Pieces;
use settings::{Settings, Side, Sides};
use std::fmt;
use std::path::{Path, PathBuf};
use vocabulary::Vocabulary;

/// Settings of a tokenizer.
const SETTINGS: &str = "tokenizer_config.json";

/// Files of tokenizers, of a folder that has several, those that its kind reads; and their maximum bytes.
const FILES: [(&str, u64); 7] = [
    (SETTINGS, LARGEST_JSON),
    (added::SPECIAL, LARGEST_JSON),
    (added::ADDED, LARGEST_JSON),
    (vocabulary::TOKENIZER, vocabulary::LARGEST),
    (vocabulary::VOCABULARY, vocabulary::LARGEST),
    (vocabulary::MERGES, vocabulary::LARGEST),
    (pieces::MODEL, pieces::LARGEST),
];

/// Returns the names of the files of tokenizers.
pub fn names_in_folder() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Maximum bytes of a text, of which a text tower reads less than a thousandth.
pub const LONGEST: usize = 1 << 18;

/// Returns the folder of a model on the hub as [`hub::fetch`] does, with the configuration and the tokenizer. The weights need not be there.
///
/// # Errors
/// As [`hub::fetch`].
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub fn fetch(reference: &str, progress: &dyn Fn(&str, u64, u64)) -> Result<PathBuf> {
    hub::fetch_files(reference, &FILES.map(|(name, largest)| File { name, largest }), progress)
}

/// Tokenizer of a checkpoint of CLIP, SigLIP or SigLIP 2. Requires the feature `text`.
pub struct Tokenizer {
    /// Folder named in messages.
    path: PathBuf,
    algorithm: Box<dyn Algorithm>,
    settings: Settings,
    padding: Side,
    truncation: Side,
    /// Ids before and after those of a text.
    around: [Vec<u32>; 2],
    /// Whether a text that already has the ids after it gets no others.
    ends_once: bool,
    pad: u32,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({})", self.path.display())
    }
}

impl Tokenizer {
    /// Opens the tokenizer in a checkpoint's folder. Weights need not be there. A model that encodes texts opens its own; this one is for texts whose
    /// tokens are wanted, or that are taken apart while the model is loaded ([`Session::encode_tokens`](crate::Session::encode_tokens)).
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] if a file is missing or damaged; [`Error::Unsupported`] for tokenizers of other models.
    pub fn open(path: impl AsRef<Path>) -> Result<Tokenizer> {
        let path = path.as_ref();
        match path.is_dir() {
            true => Tokenizer::read(&Folder::Stored(path.to_owned())),
            false => Err(Error::file(path, "no such folder; expected one with the files of a tokenizer")),
        }
    }

    /// Opens the tokenizer in a folder.
    pub(crate) fn read(folder: &Folder) -> Result<Tokenizer> {
        let (config, model) = (folder.object(SETTINGS)?, configuration(folder)?);
        let (config, model) = (config.as_ref(), model.as_ref());
        let kind = Kind::of(folder, config, model)?;
        let mut settings = Settings::read(kind, config, model)?;
        let (algorithm, around, pad, sides): (Box<dyn Algorithm>, _, _, _) = match kind {
            Kind::Siglip => {
                let added = AddedTokens::read(folder, kind, config, &[])?;
                (Box::new(Pieces::open(folder, &added, settings.lower_case)?), [vec![], vec![added.eos]], added.pad, Sides::default())
            }
            Kind::T5 => {
                let vocabulary = t5::Vocabulary::open(folder)?;
                let added = AddedTokens::read(folder, kind, config, &vocabulary.added)?;
                let sides = vocabulary.sides;
                (Box::new(t5::steps(vocabulary, &added)?), [vec![], vec![added.eos]], added.pad, sides)
            }
            Kind::OpenClip => {
                let vocabulary = Vocabulary::open(folder, kind)?;
                let added = AddedTokens::read(folder, kind, config, &vocabulary.added)?;
                let sides = vocabulary.sides;
                let algorithm = simple::steps(vocabulary, &added, settings.cleaning.take().unwrap_or(Cleaning::Lower))?;
                (Box::new(algorithm), added.ends(), added.pad, sides)
            }
            Kind::Clip | Kind::Siglip2 => {
                let mut vocabulary = Vocabulary::open(folder, kind)?;
                let added = AddedTokens::read(folder, kind, config, &vocabulary.added)?;
                let is_generic = generic::applies(config, model)?;
                let special = match is_generic {
                    true => generic::check(folder, kind, config, settings.cleaning, &added)?,
                    false => bpe::SPECIAL_WORDS,
                };
                let processor = vocabulary.processor.take();
                let around = match kind {
                    Kind::Clip if !is_generic => added.ends(),
                    _ => processor.map(|processor| processor.around(&vocabulary.path)).transpose()?.unwrap_or_default(),
                };
                let sides = vocabulary.sides;
                (Box::new(bpe::steps(kind, vocabulary, &added, special)?), around, added.pad, sides)
            }
        };
        let path = folder.path().to_owned();
        let id = |token: &String| {
            algorithm.id(token).ok_or_else(|| wrong(&path, format_args!("special token {token:?} is not in the tokenizer's vocabulary")))
        };
        let [before, after] = around.map(|tokens| tokens.iter().map(id).collect::<Result<Vec<u32>>>());
        let pad = if kind == Kind::OpenClip { open_clip::PAD } else { id(&pad)? };
        let around = [before?, after?];
        let least = around.iter().map(Vec::len).sum::<usize>().max(1);
        if settings.length < least {
            return Err(wrong(&path, format_args!("expected texts of {least} tokens or more, found model_max_length {}", settings.length)));
        }
        let padding = settings.sides.padding.or(sides.padding).unwrap_or(kind.padding());
        let truncation = settings.sides.truncation.or(sides.truncation).unwrap_or(Side::Right);
        let tokenizer = Tokenizer { path, algorithm, settings, padding, truncation, around, ends_once: kind == Kind::Siglip, pad };
        tokenizer.around.iter().flatten().chain([&tokenizer.pad]).try_for_each(|id| tokenizer.check(*id))?;
        Ok(tokenizer)
    }

    /// Returns the number of tokens that each text is cut or padded to, T.
    pub fn length(&self) -> usize {
        self.settings.length
    }

    /// Returns the token of an id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.algorithm.token(id)
    }

    /// Converts B texts to ids, cut or padded to T tokens as transformers does with `padding="max_length"` and `truncation=True`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a text of more than 256 KiB; [`Error::File`] if the vocabulary has an id beyond the model's table of embeddings.
    pub fn encode(&self, texts: &[&str]) -> Result<Tokens> {
        let mut tokens = Tokens { ids: Vec::new(), mask: Vec::new(), shape: [texts.len(), self.length()] };
        for text in texts {
            if text.len() > LONGEST {
                return Err(Error::argument("text", format!("expected at most {} KiB, found {}", LONGEST >> 10, text.len() >> 10)));
            }
            let cleaned = self.settings.cleaning.map(|cleaning| cleaning.clean(text));
            let ids = self.framed(self.algorithm.ids(cleaned.as_deref().unwrap_or(text))?);
            ids.iter().try_for_each(|id| self.check(*id))?;
            let padding = self.length() - ids.len();
            let [left, right] = match self.padding {
                Side::Left => [padding, 0],
                Side::Right => [0, padding],
            };
            tokens.mask.extend([vec![false; left], vec![true; ids.len()], vec![false; right]].concat());
            tokens.ids.extend([vec![self.pad; left], ids, vec![self.pad; right]].concat());
        }
        Ok(tokens)
    }

    /// Cuts a text's ids and adds those around them.
    fn framed(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let [before, after] = &self.around;
        let excess = (before.len() + ids.len() + after.len()).saturating_sub(self.length());
        match self.truncation {
            Side::Left => drop(ids.drain(..excess)),
            Side::Right => ids.truncate(ids.len() - excess),
        }
        match self.ends_once && ids.ends_with(after) {
            true => ids,
            false => [before, &ids, after].map(|ids| ids.as_slice()).concat(),
        }
    }

    /// Checks that the model has an embedding for an id.
    fn check(&self, id: u32) -> Result<()> {
        match self.settings.rows {
            Some(rows) if id as usize >= rows => {
                let token = self.token(id).unwrap_or_default();
                let message =
                    format_args!("expected ids below {rows}, the model's vocab_size, found {id} of token {token:?}; is it of another model?");
                Err(wrong(&self.path, message))
            }
            _ => Ok(()),
        }
    }
}
