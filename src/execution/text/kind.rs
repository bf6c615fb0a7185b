//! Kinds of tokenizers, which are classes of transformers. As there, the class determines the steps; the files have the vocabulary and settings.

use super::settings::Side;
use super::{generic, open_clip, pieces};
use crate::data::error::{Error, Result};
use crate::execution::checkpoint::{Folder, Object};

/// A class of tokenizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `CLIPTokenizer`: byte-level BPE of words in lower case.
    Clip,
    /// `SimpleTokenizer` of open_clip: the same vocabulary, with other steps.
    OpenClip,
    /// `SiglipTokenizer`: SentencePiece, without punctuation.
    Siglip,
    /// `T5Tokenizer`: a unigram model of words. open_clip's SigLIP has it.
    T5,
    /// `Siglip2Tokenizer`: Gemma's BPE of text in lower case.
    Siglip2,
}

/// Special tokens that a class has by default. The others are optional.
pub struct Defaults {
    pub bos: Option<&'static str>,
    pub eos: &'static str,
    pub unk: &'static str,
    pub pad: &'static str,
    pub mask: Option<&'static str>,
}

impl Kind {
    /// Returns the kind of a folder's tokenizer: by its class, else by the model's type or, for open_clip, by its files.
    pub fn of(folder: &Folder, config: Option<&Object>, model: Option<&Object>) -> Result<Kind> {
        let of_open_clip = model.map(open_clip::tower).transpose()?.flatten();
        if of_open_clip.as_ref().is_some_and(|tower| !open_clip::is_of_transformers(tower)) {
            return Ok(Kind::OpenClip);
        }
        if let Some(config) = config {
            match config.string("tokenizer_class")? {
                Some("CLIPTokenizer" | "CLIPTokenizerFast") => return Ok(Kind::Clip),
                Some("SiglipTokenizer") => return Ok(Kind::Siglip),
                Some("T5Tokenizer" | "T5TokenizerFast") => return Ok(Kind::T5),
                // Early releases of SigLIP 2 name Gemma's class. It has the same vocabulary, but keeps capitals, which the models were not trained on.
                Some("Siglip2Tokenizer" | "GemmaTokenizer" | "GemmaTokenizerFast") => return Ok(Kind::Siglip2),
                class if class.is_none_or(|class| generic::CLASSES.contains(&class)) => {}
                _ => {
                    let supported = "CLIPTokenizer, SiglipTokenizer, Siglip2Tokenizer, GemmaTokenizer, T5Tokenizer";
                    return Err(config.unsupported("tokenizer_class", supported));
                }
            }
        }
        let kind = Kind::of_model(folder, model, of_open_clip.is_some())?;
        match config {
            Some(config) if kind == Kind::Siglip && generic::applies(Some(config), model)? => {
                Err(config.unsupported("tokenizer_class", "for SigLIP, SiglipTokenizer, T5Tokenizer"))
            }
            _ => Ok(kind),
        }
    }

    /// Returns the kind that belongs to a model.
    fn of_model(folder: &Folder, model: Option<&Object>, is_of_open_clip: bool) -> Result<Kind> {
        if is_of_open_clip {
            return Ok(if folder.has(pieces::MODEL) { Kind::Siglip } else { Kind::Siglip2 });
        }
        let Some(model) = model else {
            return Err(Error::file(
                folder.path(),
                "no tokenizer; expected the files of CLIP's, SigLIP's or SigLIP 2's, and the model's config.json",
            ));
        };
        match model.string("model_type")? {
            Some("clip" | "clip_text_model") => Ok(Kind::Clip),
            Some("siglip" | "siglip_text_model") => Ok(Kind::Siglip),
            Some("siglip2" | "siglip2_text_model") => Ok(Kind::Siglip2),
            _ => Err(model.unsupported("model_type", "for texts, clip, siglip, siglip2, and their text models")),
        }
    }

    pub fn defaults(self) -> Defaults {
        let end = "<|endoftext|>";
        match self {
            Kind::Clip | Kind::OpenClip => Defaults { bos: Some("<|startoftext|>"), eos: end, unk: end, pad: end, mask: None },
            Kind::T5 => Defaults { bos: None, eos: "</s>", unk: "<unk>", pad: "<pad>", mask: None },
            Kind::Siglip => Defaults { bos: None, eos: "</s>", unk: "<unk>", pad: "</s>", mask: None },
            Kind::Siglip2 => Defaults { bos: Some("<bos>"), eos: "<eos>", unk: "<unk>", pad: "<pad>", mask: Some("<mask>") },
        }
    }

    /// Number of positions of a model that declares none.
    pub fn positions(self) -> usize {
        match self {
            Kind::Clip | Kind::OpenClip => 77,
            Kind::Siglip | Kind::T5 | Kind::Siglip2 => 64,
        }
    }

    /// Side of the padding, unless the files declare one.
    pub fn padding(self) -> Side {
        match self {
            Kind::Clip | Kind::OpenClip | Kind::Siglip | Kind::T5 => Side::Right,
            Kind::Siglip2 => Side::Left,
        }
    }
}
