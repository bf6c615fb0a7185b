//! 8-bit integers with a scale for each block of 32, as in GGML's Q8_0; packed four to a word. -128 is unused, so a number and its negative differ only in
//! sign.

use super::integers::rows_of_integers;

rows_of_integers!(i8, 127.0);

/// Returns how many words of a quantised row hold values; the rest hold scales.
#[cfg(any(test, all(feature = "doctor", not(target_arch = "wasm32"))))]
pub fn words_of_row(row_words: usize) -> usize {
    row_words * (BLOCK / WORD) / (BLOCK / WORD + 1)
}

/// Restores the values of a quantised row.
#[inline(always)]
pub fn restore(row: &[u32], values: &mut [f32]) {
    let (words, scales) = row.split_at(words(values.len()));
    let bytes: &[i8] = bytemuck::cast_slice(words);
    for ((values, bytes), scale) in values.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK)).zip(scales) {
        values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = f32::from(*byte) * f32::from_bits(*scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quantised_to_the_nearest_integer_of_their_block() {
        let mut values = vec![0.0; BLOCK + 2];
        values[..3].copy_from_slice(&[0.5, -1.0, 0.25]);
        values[BLOCK..].copy_from_slice(&[-8.0, 4.0]);
        let mut row = vec![u32::MAX; row_words(values.len())];
        quantise(&values, &mut row);
        // 63.5 and 31.75
        assert_eq!(integers(row[0]), [64.0, -127.0, 32.0, 0.0]);
        assert_eq!(integers(row[8]), [-127.0, 64.0, 0.0, 0.0]);
        assert!(row[1..8].iter().all(|word| *word == 0));
        assert_eq!([row[9], row[10]].map(f32::from_bits), [1.0 / 127.0, 8.0 / 127.0]);
        let mut restored = vec![f32::NAN; values.len()];
        restore(&row, &mut restored);
        assert!(restored.iter().zip(&values).all(|(got, value)| (got - value).abs() <= 0.5 * 8.0 / 127.0));
    }

    #[test]
    fn values_that_are_not_finite_are_not_hidden() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 2 * BLOCK];
            values[BLOCK + 5] = value;
            let mut row = vec![0; row_words(values.len())];
            quantise(&values, &mut row);
            assert!(f32::from_bits(row[16]).is_finite() && !f32::from_bits(row[17]).is_finite(), "{value}");
        }
    }

    #[test]
    fn rows_split_into_words_and_scales() {
        for count in 1..=300 {
            assert_eq!(words_of_row(row_words(count)), words(count), "{count} values");
        }
    }
}
