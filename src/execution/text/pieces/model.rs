//! SentencePiece's model: pieces, normaliser, and unigram search.

use super::normalizer::Normalizer;
use super::proto::Fields;
use crate::execution::text::prefixes::{LONGEST, Prefixes};
use crate::execution::text::replacements::Replacements;
use crate::execution::text::unigram::{Score, Unigram};
use std::collections::HashMap;

/// Maximum number of pieces, four times those of the multilingual SigLIP.
const MOST: usize = 1 << 20;

/// Type of a piece, as numbered in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// A piece as the file has it.
struct Piece {
    text: String,
    score: f32,
    kind: Type,
}

/// A unigram model.
pub struct Model {
    normalizer: Normalizer,
    unigram: Unigram<f32>,
    /// Pieces by their id.
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    unknown: u32,
    /// Ids of the 256 bytes, if they stand for unknown characters.
    bytes: Option<Vec<u32>>,
}

impl Model {
    /// Parses a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Model, String> {
        let damaged = || "not a model of SentencePiece, or damaged; download it again".to_owned();
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut trainer, mut normalizer): (&[u8], &[u8]) = (&[], &[]);
        for field in Fields(file) {
            let (field, value) = field.ok_or_else(damaged)?;
            match field {
                1 => pieces.push(piece(value.bytes().ok_or_else(damaged)?).ok_or_else(damaged)?),
                2 => trainer = value.bytes().ok_or_else(damaged)?,
                3 => normalizer = value.bytes().ok_or_else(damaged)?,
                _ => {}
            }
            if pieces.len() > MOST {
                return Err(format!("more than {MOST} pieces, which no such file should have"));
            }
        }
        if let Some(piece) = pieces.iter().find(|piece| piece.text.len() > LONGEST) {
            return Err(format!("expected pieces of at most {LONGEST} bytes, found one of {}", piece.text.len()));
        }
        let (mut algorithm, mut at_end, mut falls_back) = (1, false, false);
        for field in Fields(trainer) {
            let (field, value) = field.ok_or_else(damaged)?;
            match field {
                3 => algorithm = value.number().ok_or_else(damaged)?,
                24 => at_end = value.number() == Some(1),
                35 => falls_back = value.number() == Some(1),
                _ => {}
            }
        }
        if algorithm != 1 {
            return Err("expected a unigram model, found another algorithm".to_owned());
        }
        let kept = of_type(&pieces, Type::UserDefined).map(|(id, piece)| (piece.text.clone(), id)).collect();
        let mut steps =
            Normalizer { replacements: None, kept: Prefixes::new(kept), adds_prefix: true, removes_spaces: true, marks_spaces: true, at_end };
        for field in Fields(normalizer) {
            let (field, value) = field.ok_or_else(damaged)?;
            match field {
                2 if value.bytes() == Some(&[]) => {}
                2 => steps.replacements = Some(value.bytes().and_then(Replacements::read).ok_or_else(damaged)?),
                3 => steps.adds_prefix = value.number() == Some(1),
                4 => steps.removes_spaces = value.number() == Some(1),
                5 => steps.marks_spaces = value.number() == Some(1),
                _ => {}
            }
        }
        let (unknown, _) = of_type(&pieces, Type::Unknown).next().ok_or("expected a piece for unknown characters, found none")?;
        let bytes = falls_back.then(|| of_type(&pieces, Type::Byte).map(|(id, _)| id).collect::<Vec<u32>>());
        if bytes.as_ref().is_some_and(|bytes| bytes.len() != 256) {
            return Err("expected a piece for each byte, found some missing".to_owned());
        }
        Ok(Model {
            normalizer: steps,
            unigram: unigram(&pieces),
            ids: (0..).zip(&pieces).map(|(id, piece)| (piece.text.clone(), id)).collect(),
            pieces: pieces.into_iter().map(|piece| piece.text).collect(),
            unknown,
            bytes,
        })
    }

    /// Returns the number of pieces.
    pub fn len(&self) -> u32 {
        self.pieces.len() as u32
    }

    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    pub fn piece(&self, id: u32) -> Option<String> {
        self.pieces.get(id as usize).cloned()
    }

    /// Returns the ids of a text.
    pub fn ids(&self, text: &str) -> Vec<u32> {
        let text = self.normalizer.normalized(text);
        let mut ids = Vec::new();
        for part in self.unigram.parts(&text) {
            match (part.piece, &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, None) => ids.push(self.unknown),
                (None, Some(bytes)) => ids.extend(part.text.bytes().map(|byte| bytes[usize::from(byte)])),
            }
        }
        ids
    }
}

/// Returns the pieces of a type with their ids.
fn of_type(pieces: &[Piece], kind: Type) -> impl Iterator<Item = (u32, &Piece)> {
    (0..).zip(pieces).filter(move |(_, piece)| piece.kind == kind)
}

fn unigram(pieces: &[Piece]) -> Unigram<f32> {
    let normal = || of_type(pieces, Type::Normal).map(|(_, piece)| piece.score);
    let in_texts = (0..).zip(pieces).filter(|(_, piece)| matches!(piece.kind, Type::Normal | Type::UserDefined));
    let score = |piece: &Piece| match piece.kind {
        Type::UserDefined => Score::UserDefined,
        _ => Score::Normal(piece.score),
    };
    Unigram {
        pieces: Prefixes::new(in_texts.map(|(id, piece)| (piece.text.clone(), id)).collect()),
        scores: pieces.iter().map(score).collect(),
        // The original starts with FLT_MIN, the smallest positive number.
        bounds: [normal().fold(f32::MAX, f32::min), normal().fold(f32::MIN_POSITIVE, f32::max)],
    }
}

/// Reads a piece; `None` if it is damaged.
fn piece(message: &[u8]) -> Option<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Type::Normal };
    for field in Fields(message) {
        let (field, value) = field?;
        match field {
            1 => piece.text = String::from_utf8(value.bytes()?.to_vec()).ok()?,
            2 => piece.score = value.float()?,
            3 => {
                piece.kind = match value.number()? {
                    1 => Type::Normal,
                    2 => Type::Unknown,
                    3 => Type::Control,
                    4 => Type::UserDefined,
                    5 => Type::Unused,
                    6 => Type::Byte,
                    _ => return None,
                }
            }
            _ => {}
        }
    }
    Some(piece)
}
