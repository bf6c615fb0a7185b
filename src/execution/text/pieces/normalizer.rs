//! SentencePiece's normaliser (`normalizer.cc`): a table of replacements, then spaces.
//!
//! That of the `tokenizers` crate works cluster by cluster, and gives other results for some.

use super::prefixes::Prefixes;
use std::borrow::Cow;

/// Mark of a space in pieces.
pub const SPACE: char = '\u{2581}';

/// Maximum bytes of a replaced string and of its replacement. NFKC needs 33.
const LONGEST: usize = 256;

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
    /// Returns the text whose pieces are looked for, or `None` if the table is damaged where it is needed.
    pub fn normalized(&self, text: &str) -> Option<String> {
        let mut rest = text;
        let mut out = String::new();
        if self.removes_spaces {
            while let (part, len) = self.part(rest)?
                && part == " "
            {
                rest = &rest[len..];
            }
        }
        if rest.is_empty() {
            return Some(out);
        }
        let space = if self.marks_spaces { SPACE } else { ' ' };
        if self.adds_prefix && !self.at_end {
            out.push(space);
        }
        let mut after_space = self.removes_spaces;
        while !rest.is_empty() {
            let (part, len) = self.part(rest)?;
            let part = if after_space { part.trim_start_matches(' ') } else { &part };
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
        Some(out)
    }

    /// Returns what the beginning of a text becomes, and the length of that beginning.
    fn part<'a>(&'a self, text: &'a str) -> Option<(Cow<'a, str>, usize)> {
        if let Some((len, _)) = self.kept.longest(text) {
            return Some((text[..len].into(), len));
        }
        if let Some(replacements) = &self.replacements
            && let Some((len, place)) = replacements.longest(text)
        {
            return Some((replacements.at(place)?, len));
        }
        let len = text.chars().next().map_or(0, char::len_utf8);
        Some((text[..len].into(), len))
    }
}

/// Replacements of strings: a double array as in Darts-clone, and the replacements one after another.
pub struct Replacements {
    units: Vec<u32>,
    texts: Vec<u8>,
}

impl Replacements {
    /// Reads a table: the array's length in bytes, the array, the texts.
    pub fn read(mut table: &[u8]) -> Option<Replacements> {
        let size = u32::from_le_bytes(table.split_off(..4)?.try_into().ok()?) as usize;
        let units = table.split_off(..size)?.chunks_exact(4).map(|unit| u32::from_le_bytes(unit.try_into().expect("4 bytes")));
        Some(Replacements { units: units.collect(), texts: table.to_vec() })
    }

    /// Returns the length of the longest replaced string that the text begins with, and its replacement's place. It ends at a character's end.
    fn longest(&self, text: &str) -> Option<(usize, usize)> {
        let unit = |place: usize| self.units.get(place).copied();
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut found = None;
        let mut place = offset(unit(0)?);
        for (i, byte) in text.bytes().enumerate().take(LONGEST) {
            place ^= usize::from(byte);
            let Some(node) = unit(place).filter(|node| node & 0x8000_00ff == u32::from(byte)) else { break };
            place ^= offset(node);
            if node & (1 << 8) != 0
                && let Some(value) = unit(place)
                && text.is_char_boundary(i + 1)
            {
                found = Some((i + 1, (value & 0x7fff_ffff) as usize));
            }
        }
        found
    }

    /// Returns the replacement at a place, which a zero ends.
    fn at(&self, place: usize) -> Option<Cow<'_, str>> {
        let text = self.texts.get(place..)?;
        let end = text.iter().take(LONGEST).position(|byte| *byte == 0)?;
        std::str::from_utf8(&text[..end]).ok().map(Cow::Borrowed)
    }
}
