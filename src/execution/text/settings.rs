//! Settings of a tokenizer beside its tokens, from `tokenizer_config.json` and the model's `config.json`.

use super::kind::Kind;
use super::open_clip::{self, Cleaning};
use crate::data::error::Result;
use crate::execution::checkpoint::Object;

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Side {
    Left,
    Right,
}

/// Ends at which texts are padded and cut, as far as a file declares them.
#[derive(Clone, Copy, Default)]
pub struct Sides {
    pub padding: Option<Side>,
    pub truncation: Option<Side>,
}

/// Padding or cutting in `tokenizer.json`, of which transformers takes over the end.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
pub struct Stored {
    direction: Option<Side>,
}

impl Sides {
    /// Returns those of `tokenizer.json`.
    pub fn stored(padding: Option<Stored>, truncation: Option<Stored>) -> Sides {
        let side = |stored: Option<Stored>| stored.and_then(|stored| stored.direction);
        Sides { padding: side(padding), truncation: side(truncation) }
    }
}

/// Settings of a tokenizer.
pub struct Settings {
    /// Tokens per text, T.
    pub length: usize,
    /// Declared sides, which go before those of `tokenizer.json`.
    pub sides: Sides,
    /// Whether SigLIP's text is converted to lower case; that of the others is as the kind has it.
    pub lower_case: bool,
    /// How open_clip prepares texts first, if the model is its own.
    pub cleaning: Option<Cleaning>,
    /// Rows of the model's table of token embeddings, if it declares them.
    pub rows: Option<usize>,
}

impl Settings {
    pub fn read(kind: Kind, config: Option<&Object>, model: Option<&Object>) -> Result<Settings> {
        // A model of both towers nests the text tower's configuration.
        let of_open_clip = model.map(open_clip::tower).transpose()?.flatten();
        let nested = model.map(|model| model.object("text_config")).transpose()?.flatten();
        let tower = of_open_clip.as_ref().or(nested.as_ref()).or(model);
        let longest = if of_open_clip.is_some() { "context_length" } else { "max_position_embeddings" };
        let positions = tower.map(|tower| tower.size(longest)).transpose()?.flatten().unwrap_or(kind.positions());
        // Files that set no limit state 10^30.
        let limit = config.map(|config| config.number("model_max_length")).transpose()?.flatten();
        let side = |key: &str| -> Result<Option<Side>> {
            // open_clip's own tokenizer has no other.
            if kind == Kind::OpenClip {
                return Ok(Some(Side::Right));
            }
            let Some(config) = config else { return Ok(None) };
            match config.string(key)? {
                None => Ok(None),
                Some("left") => Ok(Some(Side::Left)),
                Some("right") => Ok(Some(Side::Right)),
                Some(_) => Err(config.wrong(key, "left or right")),
            }
        };
        Ok(Settings {
            // open_clip cuts at the model's length, whatever the tokenizer declares.
            length: limit.filter(|_| of_open_clip.is_none()).map_or(positions, |limit| positions.min(limit as usize)),
            sides: Sides { padding: side("padding_side")?, truncation: side("truncation_side")? },
            lower_case: match (kind, config) {
                (Kind::Siglip, Some(config)) => config.bool("do_lower_case")?.unwrap_or(true),
                _ => true,
            },
            cleaning: of_open_clip.as_ref().map(Cleaning::read).transpose()?,
            rows: tower.map(|tower| tower.size("vocab_size")).transpose()?.flatten(),
        })
    }
}
