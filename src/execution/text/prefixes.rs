//! Strings by which others begin.

/// Maximum bytes of a string: four times the longest piece that SentencePiece makes by default.
pub const LONGEST: usize = 256;

/// Strings with a number each, in order.
pub struct Prefixes(Vec<(String, u32)>);

impl Prefixes {
    /// Of equal strings, the first one counts. Empty ones are part of no text.
    pub fn new(mut strings: Vec<(String, u32)>) -> Prefixes {
        strings.retain(|(string, _)| !string.is_empty());
        strings.sort_by(|(a, _), (b, _)| a.cmp(b));
        strings.dedup_by(|(a, _), (b, _)| a == b);
        Prefixes(strings)
    }

    /// Returns the length and the number of each string that the text begins with, the shortest first.
    pub fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut rest = self.0.as_slice();
        text.bytes()
            .enumerate()
            .map_while(move |(i, byte)| {
                let at = |string: &String| string.as_bytes().get(i).copied();
                let start = rest.partition_point(|(string, _)| at(string) < Some(byte));
                let end = rest.partition_point(|(string, _)| at(string) <= Some(byte));
                rest = &rest[start..end];
                let (string, number) = rest.first()?;
                Some((string.len() == i + 1).then_some((i + 1, *number)))
            })
            .flatten()
    }

    /// Returns the length and the number of the longest string that the text begins with.
    pub fn longest(&self, text: &str) -> Option<(usize, u32)> {
        self.of(text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_found_shortest_first() {
        let strings = ["ab", "a", "b", "abcd", "", "é", "a"].into_iter().zip(0..).map(|(string, i)| (string.to_owned(), i));
        let prefixes = Prefixes::new(strings.collect());
        let of = |text: &str| prefixes.of(text).collect::<Vec<_>>();
        assert_eq!(of("abcde"), [(1, 1), (2, 0), (4, 3)]);
        assert_eq!(of("éa"), [(2, 5)]);
        assert!(of("").is_empty() && of("cab").is_empty());
        assert_eq!(prefixes.longest("abc"), Some((2, 0)));
    }
}
