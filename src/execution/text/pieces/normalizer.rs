//! SentencePiece's normaliser (`normalizer.cc`): a table of replacements, then spaces.
//!
//! That of the `tokenizers` crate works cluster by cluster, and gives other results for some.

use crate::execution::text::prefixes::Prefixes;
use crate::execution::text::replacements::Replacements;
use crate::execution::text::unigram::SPACE;

/// Normaliser of a model.
pub struct Normalizer {
    pub replacements: Option<Replacements>,
    /// Strings that are pieces as they are.
    pub kept: Prefixes,
    pub adds_prefix: bool,
    pub removes_spaces: bool,
    pub marks_spaces: bool,
    /// Whether spaces belong to the word before them.
    pub at_end: bool,
}

impl Normalizer {
    /// Returns the text whose pieces are looked for.
    pub fn normalized(&self, text: &str) -> String {
        let mut rest = text;
        let mut out = String::new();
        if self.removes_spaces {
            while let (part, len) = self.part(rest)
                && part == " "
            {
                rest = &rest[len..];
            }
        }
        if rest.is_empty() {
            return out;
        }
        let space = if self.marks_spaces { SPACE } else { ' ' };
        if self.adds_prefix && !self.at_end {
            out.push(space);
        }
        let mut after_space = self.removes_spaces;
        while !rest.is_empty() {
            let (part, len) = self.part(rest);
            let part = if after_space { part.trim_start_matches(' ') } else { part };
            out.extend(part.chars().map(|c| if c == ' ' { space } else { c }));
            if !part.is_empty() {
                after_space = part.ends_with(' ');
            }
            after_space &= self.removes_spaces;
            rest = &rest[len..];
        }
        if self.removes_spaces {
            out.truncate(out.trim_end_matches(space).len());
        }
        if self.adds_prefix && self.at_end {
            out.push(space);
        }
        out
    }

    /// Returns what the beginning of a text becomes, and the length of that beginning.
    fn part<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some((len, _)) = self.kept.longest(text) {
            return (&text[..len], len);
        }
        if let Some(replacements) = &self.replacements
            && let Some((len, replacement)) = replacements.of(text).filter(|(len, _)| text.is_char_boundary(*len)).last()
        {
            return (replacement, len);
        }
        let len = text.chars().next().map_or(0, char::len_utf8);
        (&text[..len], len)
    }
}
