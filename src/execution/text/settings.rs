//! Settings of a tokenizer beside its tokens, from `tokenizer_config.json` and the model's `config.json`.

use super::kind::Kind;
use crate::data::error::Result;
use crate::execution::checkpoint::Object;

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// Settings of a tokenizer.
pub struct Settings {
    /// Tokens per text, T.
    pub length: usize,
    pub padding: Side,
    pub truncation: Side,
    /// Whether SigLIP's text is converted to lower case; that of the others always is.
    pub lower_case: bool,
    /// Rows of the model's table of token embeddings, if it declares them.
    pub rows: Option<usize>,
}

impl Settings {
    pub fn read(kind: Kind, config: Option<&Object>, model: Option<&Object>) -> Result<Settings> {
        // A model of both towers nests the text tower's configuration.
        let tower = model.map(|model| model.object("text_config")).transpose()?.flatten();
        let tower = tower.as_ref().or(model);
        let positions = tower.map(|tower| tower.size("max_position_embeddings")).transpose()?.flatten().unwrap_or(kind.positions());
        // Files that set no limit state 10^30.
        let limit = config.map(|config| config.number("model_max_length")).transpose()?.flatten();
        let side = |key: &str| -> Result<Option<Side>> {
            let Some(config) = config else { return Ok(None) };
            match config.string(key)? {
                None => Ok(None),
                Some("left") => Ok(Some(Side::Left)),
                Some("right") => Ok(Some(Side::Right)),
                Some(_) => Err(config.wrong(key, "left or right")),
            }
        };
        Ok(Settings {
            length: limit.map_or(positions, |limit| positions.min(limit as usize)),
            padding: side("padding_side")?.unwrap_or(kind.padding()),
            truncation: side("truncation_side")?.unwrap_or(Side::Right),
            lower_case: match (kind, config) {
                (Kind::Siglip, Some(config)) => config.bool("do_lower_case")?.unwrap_or(true),
                _ => true,
            },
            rows: tower.map(|tower| tower.size("vocab_size")).transpose()?.flatten(),
        })
    }
}
