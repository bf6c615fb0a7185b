//! SentencePiece's table of replacements (`precompiled_charsmap`), with which it and its users normalise texts.

/// Maximum bytes of a replaced string and of its replacement. NFKC needs 33.
const LONGEST: usize = 256;

/// Replacements of strings: a double array as in Darts-clone, and the replacements one after another, each ended by a zero.
pub struct Replacements {
    units: Vec<u32>,
    texts: Vec<u8>,
}

impl Replacements {
    /// Reads a table: the array's length in bytes, the array, the texts. `None` if it is damaged.
    pub fn read(mut table: &[u8]) -> Option<Replacements> {
        let size = u32::from_le_bytes(table.split_off(..4)?.try_into().ok()?) as usize;
        let units = table.split_off(..size)?.chunks_exact(4).map(|unit| u32::from_le_bytes(unit.try_into().expect("4 bytes")));
        let replacements = Replacements { units: units.collect(), texts: table.to_vec() };
        replacements.is_whole().then_some(replacements)
    }

    /// Returns whether each replaced string has a replacement.
    fn is_whole(&self) -> bool {
        let mut is_seen = vec![false; self.units.len()];
        let mut open: Vec<usize> = self.root().into_iter().collect();
        while let Some(base) = open.pop() {
            for byte in 1..=u8::MAX {
                let Some(node) = self.next(base, byte) else { continue };
                if std::mem::replace(&mut is_seen[base ^ usize::from(byte)], true) {
                    continue;
                }
                if node.ends && self.text(node.base).is_none() {
                    return false;
                }
                open.push(node.base);
            }
        }
        true
    }

    /// Returns the lengths of the replaced strings that the text begins with, the shortest first, and their replacements.
    pub fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        let mut base = self.root();
        let nodes = text.bytes().take(LONGEST).map_while(move |byte| {
            let node = self.next(base?, byte)?;
            base = Some(node.base);
            Some(node)
        });
        nodes.zip(1..).filter(|(node, _)| node.ends).filter_map(|(node, len)| Some((len, self.text(node.base)?)))
    }

    fn root(&self) -> Option<usize> {
        self.units.first().map(|root| offset(*root))
    }

    /// Returns the node that a byte leads to.
    fn next(&self, base: usize, byte: u8) -> Option<Node> {
        let place = base ^ usize::from(byte);
        let unit = self.units.get(place).filter(|unit| **unit & 0x8000_00ff == u32::from(byte))?;
        Some(Node { base: place ^ offset(*unit), ends: unit & (1 << 8) != 0 })
    }

    /// Returns the replacement of the string that ends at a node.
    fn text(&self, base: usize) -> Option<&str> {
        let place = self.units.get(base)? & 0x7fff_ffff;
        let text = self.texts.get(place as usize..)?;
        let end = text.iter().take(LONGEST).position(|byte| *byte == 0)?;
        std::str::from_utf8(&text[..end]).ok()
    }
}

/// A node of the double array.
struct Node {
    /// Where the nodes that follow begin.
    base: usize,
    /// Whether a replaced string ends here.
    ends: bool,
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}
