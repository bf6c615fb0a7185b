//! Special tokens around texts, from `tokenizer.json`.

use super::capped::List;
use super::messages::brief;
use crate::data::error::{Error, Result};
use std::path::Path;

/// The step that adds special tokens.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
pub struct Processor {
    #[serde(rename = "type")]
    kind: String,
    /// Token before a text, and its id.
    cls: Option<(String, u32)>,
    /// Token after a text, and its id.
    sep: Option<(String, u32)>,
    #[serde(default)]
    single: List<Part>,
}

#[derive(serde::Deserialize)]
enum Part {
    Sequence {},
    SpecialToken { id: String },
}

impl Processor {
    /// Returns the special tokens before and after each text. `path` is that of the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the step is another one.
    pub fn around(self, path: &Path) -> Result<[Vec<String>; 2]> {
        match (self.kind.as_str(), self.cls, self.sep) {
            ("RobertaProcessing" | "BertProcessing", Some((before, _)), Some((after, _))) => Ok([vec![before], vec![after]]),
            ("TemplateProcessing", ..) => {
                let (mut around, mut side) = ([Vec::new(), Vec::new()], 0);
                for part in self.single.0 {
                    match part {
                        Part::Sequence {} => side = 1,
                        Part::SpecialToken { id } => around[side].push(id),
                    }
                }
                Ok(around)
            }
            (kind, ..) => {
                Err(Error::unsupported(path, brief(format_args!("post_processor: expected TemplateProcessing or RobertaProcessing, found {kind:?}"))))
            }
        }
    }
}
