//! Byte-pair encoding, by the `tokenizers` crate: the steps of `CLIPTokenizer` and `Siglip2Tokenizer` in transformers 5. Files give no regular
//! expressions, so that hostile ones cannot take time.

use super::added::AddedTokens;
use super::algorithm::Steps;
use super::kind::Kind;
use super::messages::wrong;
use super::unigram::SPACE;
use super::vocabulary::{Merge, Vocabulary};
use crate::data::error::Result;
use tokenizers::models::bpe::{BPE, BpeBuilder};
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::utils::{Lowercase, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, TokenizerImpl};

/// Words of CLIP: contractions, letters, a digit, other characters.
pub const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Words of CLIP that go before: special tokens.
pub const SPECIAL_WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|";
/// Suffix of CLIP's tokens that end a word.
pub const CLIP_SUFFIX: &str = "</w>";

/// Returns a builder of byte-pair encoding.
pub fn builder(vocabulary: Vocabulary, added: &AddedTokens) -> BpeBuilder {
    let pairs = vocabulary.merges.into_iter().map(|Merge(left, right)| (left, right)).collect();
    // Captions differ, so a cache of words would only grow.
    BPE::builder().vocab_and_merges(vocabulary.ids, pairs).cache_capacity(0).unk_token(added.unk.clone())
}

/// Returns the division into words, each written in characters that stand for bytes.
pub fn words(pattern: &str, bytes: ByteLevel) -> tokenizers::Result<PreTokenizers> {
    let words = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    Ok(PreTokenizers::new(vec![words.into(), bytes.add_prefix_space(false).into()]))
}

/// Returns byte-pair encoding with the steps around it. `special` are the special tokens among CLIP's words.
pub fn steps(kind: Kind, vocabulary: Vocabulary, added: &AddedTokens, special: &str) -> Result<Steps<BPE, NormalizerWrapper>> {
    let path = vocabulary.path.clone();
    let wrong = |error: tokenizers::Error| wrong(&path, error);
    let bpe = builder(vocabulary, added);
    let (bpe, normalizers, words): (_, Vec<NormalizerWrapper>, Option<PreTokenizerWrapper>) = match kind {
        Kind::Clip => {
            let space = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(wrong)?;
            let words = words(&format!("{special}{WORDS}"), ByteLevel::default()).map_err(wrong)?;
            (bpe.end_of_word_suffix(CLIP_SUFFIX.to_owned()), vec![NFC.into(), space.into(), Lowercase.into()], Some(words.into()))
        }
        _ => {
            let space = Replace::new(" ", SPACE).map_err(wrong)?;
            // transformers splits at spaces next, of which none is left.
            (bpe.fuse_unk(true).byte_fallback(true), vec![Lowercase.into(), space.into()], None)
        }
    };
    let mut steps = TokenizerImpl::new(bpe.build().map_err(wrong)?);
    steps.with_normalizer(Some(Normalizers::new(normalizers))).map_err(wrong)?;
    steps.with_pre_tokenizer(words);
    steps.add_tokens(added.all.iter().map(|added| added.token.clone())).map_err(wrong)?;
    Ok(Steps { path, steps })
}
