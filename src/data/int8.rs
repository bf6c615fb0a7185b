//! 8-bit integers with a scale, packed four to a word, the first in the lowest byte.

/// Largest magnitude. -128 is unused, so a number and its negative differ only in sign.
const LARGEST: f32 = 127.0;

/// Integers per word.
pub const WORD: usize = 4;

/// Returns the scale max |x| / 127, by which the integers are multiplied to restore the values.
pub fn scale<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |largest: f32, value| largest.max(value.abs())) / LARGEST
}

/// Quantises up to four numbers to the nearest integers, ties to even, and packs them. Missing numbers become zero.
pub fn word(values: &[f32], scale: f32) -> u32 {
    let mut bytes = [0; WORD];
    if scale > 0.0 {
        for (byte, value) in bytes.iter_mut().zip(values) {
            *byte = (value / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8 as u8;
        }
    }
    u32::from_le_bytes(bytes)
}

/// Unpacks the integers of a word as floats, without the scale.
pub fn integers(word: u32) -> [f32; WORD] {
    word.to_le_bytes().map(|byte| f32::from(byte as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quantised_to_the_nearest_integer() {
        let values = [0.5, -1.0, 0.25, 0.0];
        assert_eq!(scale(&values), 1.0 / 127.0);
        // 63.5 and 31.75
        assert_eq!(integers(word(&values, scale(&values))), [64.0, -127.0, 32.0, 0.0]);
        assert_eq!(integers(word(&[3.0], 0.5)), [6.0, 0.0, 0.0, 0.0]);
        assert_eq!(word(&[0.0, 0.0], scale(&[0.0, 0.0])), 0);
    }
}
