//! Conversion of texts to token ids.

use super::messages::wrong;
use crate::data::error::Result;
use std::path::PathBuf;
use tokenizers::{DecoderWrapper, Model, Normalizer, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl};

/// Conversion of a text to token ids.
pub trait Algorithm: Send + Sync {
    /// Returns the ids of a text, without those around it.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if a file of the tokenizer is damaged where this text needs it.
    fn ids(&self, text: &str) -> Result<Vec<u32>>;

    /// Returns the id of a token.
    fn id(&self, token: &str) -> Option<u32>;

    /// Returns the token of an id.
    fn token(&self, id: u32) -> Option<String>;
}

/// A model of the `tokenizers` crate with the steps around it.
pub struct Steps<M, N> {
    /// File named in messages.
    pub path: PathBuf,
    pub steps: TokenizerImpl<M, N, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
}

impl<M: Model + Send + Sync, N: Normalizer + Send + Sync> Algorithm for Steps<M, N> {
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.steps.encode_fast(text, false).map_err(|error| wrong(&self.path, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.steps.token_to_id(token)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.steps.id_to_token(id)
    }
}
