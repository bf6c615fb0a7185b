//! Mutations of files: bytes, numbers in JSON, pieces of others.

use crate::tensors;

/// Xorshift generator (Marsaglia 2003).
pub struct Random(u64);

/// Numbers that break sums, and values of other types.
const VALUES: [&str; 22] = [
    "0",
    "-1",
    "1",
    "2",
    "7",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "1e308",
    "-0.5",
    "null",
    "true",
    "false",
    "\"\"",
    "\"x\"",
    "[]",
    "[3]",
    "[1,2,3]",
    "{}",
];

/// Longest input.
const LONGEST: usize = 1 << 18;

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// Returns one of the seeds with one to eight mutations.
    pub fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(8) {
            self.mutate(&mut input, seeds);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        if self.below(3) == 0
            && let Some(changed) = tensors::changed(input, self)
        {
            *input = changed;
            return;
        }
        // The beginning, which has the headers, more often than the rest.
        let reach = if self.below(2) == 0 { input.len() } else { input.len().min(256) };
        let at = self.below(reach + 1).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'{', b'['][self.below(8)],
            2 => input.truncate(at),
            3 => input.insert(at, self.next() as u8),
            4 if at < input.len() => drop(input.remove(at)),
            5 => {
                // A piece of another seed, or of this one.
                let other = &seeds[self.below(seeds.len())];
                let start = self.below(other.len() + 1).min(other.len());
                let end = (start + self.below(64)).min(other.len());
                input.splice(at..at, other[start..end].iter().copied());
            }
            6 => {
                let end = (at + 1 + self.below(32)).min(input.len());
                input.drain(at..end);
            }
            7 => self.replace_value(input),
            _ if input.len() >= at + 8 => {
                let value = [0u64, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 62, 100_000_000][self.below(7)];
                let width = [1, 2, 4, 8][self.below(4)];
                input[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            _ => {}
        }
    }

    /// Replaces a value in JSON.
    fn replace_value(&mut self, input: &mut Vec<u8>) {
        let is_before = |byte: u8| matches!(byte, b':' | b'[' | b',');
        let starts: Vec<usize> = (1..input.len()).filter(|&i| is_before(input[i - 1])).take(4096).collect();
        let Some(&start) = starts.get(self.below(starts.len())) else { return };
        let (mut depth, mut is_text) = (0, false);
        let ends = |byte: &u8| {
            match byte {
                b'"' => is_text = !is_text,
                _ if is_text => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth > 0 => depth -= 1,
                b']' | b'}' | b',' if depth == 0 => return true,
                _ => {}
            }
            false
        };
        let end = input[start..].iter().position(ends).map_or(input.len(), |length| start + length);
        input.splice(start..end, VALUES[self.below(VALUES.len())].bytes());
    }
}
