//! Byte-pair encoding, by the `tokenizers` crate: the steps of `CLIPTokenizer` and `Siglip2Tokenizer` in transformers 5. Files give no regular
//! expressions, so that hostile ones cannot take time.

use super::added::AddedTokens;
use super::algorithm::Steps;
use super::kind::Kind;
use super::messages::wrong;
use super::unigram::SPACE;
use super::vocabulary::{Merge, Vocabulary};
use crate::data::error::Result;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::utils::{Lowercase, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, TokenizerImpl};

/// Words of CLIP: special tokens, contractions, letters, a digit, other characters.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Returns byte-pair encoding with the steps around it.
pub fn steps(kind: Kind, vocabulary: Vocabulary, added: &AddedTokens) -> Result<Steps<BPE, NormalizerWrapper>> {
    let Vocabulary { path, ids, merges, .. } = vocabulary;
    let wrong = |error: tokenizers::Error| wrong(&path, error);
    let pairs = merges.into_iter().map(|Merge(left, right)| (left, right)).collect();
    // Captions differ, so a cache of words would only grow.
    let bpe = BPE::builder().vocab_and_merges(ids, pairs).cache_capacity(0);
    let bpe = bpe.unk_token(added.unk.clone());
    let (bpe, normalizers, words): (_, Vec<NormalizerWrapper>, Option<PreTokenizerWrapper>) = match kind {
        Kind::Clip => {
            let space = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(wrong)?;
            let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true).map_err(wrong)?;
            let words = PreTokenizers::new(vec![words.into(), ByteLevel::default().add_prefix_space(false).into()]);
            (bpe.end_of_word_suffix("</w>".to_owned()), vec![NFC.into(), space.into(), Lowercase.into()], Some(words.into()))
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
