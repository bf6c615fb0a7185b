//! Numbers as 8-bit integers with a scale, four in a word, the first in the lowest byte.

/// The largest integer; -128 is not used, so that a number and its negative differ in the sign only.
const LARGEST: f32 = 127.0;

/// Integers in a word.
pub const WORD: usize = 4;

/// What integers are multiplied by to give numbers of which the largest magnitude is among `values`.
pub fn scale<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |largest: f32, value| largest.max(value.abs())) / LARGEST
}

/// The nearest integers, of ties the even one, to at most four numbers by their scale; zeros behind the last.
pub fn word(values: &[f32], scale: f32) -> u32 {
    let mut bytes = [0; WORD];
    if scale > 0.0 {
        for (byte, value) in bytes.iter_mut().zip(values) {
            *byte = (value / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8 as u8;
        }
    }
    u32::from_le_bytes(bytes)
}

/// The integers of a word, as numbers.
pub fn integers(word: u32) -> [f32; WORD] {
    word.to_le_bytes().map(|byte| f32::from(byte as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_nearest_integers() {
        let values = [0.5, -1.0, 0.25, 0.0];
        assert_eq!(scale(&values), 1.0 / 127.0);
        // 63.5 and 31.75
        assert_eq!(integers(word(&values, scale(&values))), [64.0, -127.0, 32.0, 0.0]);
        assert_eq!(integers(word(&[3.0], 0.5)), [6.0, 0.0, 0.0, 0.0]);
        assert_eq!(word(&[0.0, 0.0], scale(&[0.0, 0.0])), 0);
    }
}
