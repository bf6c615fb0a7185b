//! bf16: the upper 16 bits of an f32, packed two to a word, the first in the lower half.

/// Numbers per word.
pub const WORD: usize = 2;

/// Returns the words of `count` values.
pub fn words(count: usize) -> usize {
    count.div_ceil(WORD)
}

/// Rounds a row to the nearest bf16, ties to even. A last half word without a value becomes zero.
#[inline(always)]
pub fn round(values: &[f32], row: &mut [u32]) {
    let halves: &mut [u16] = bytemuck::cast_slice_mut(row);
    let (whole, padding) = halves.split_at_mut(values.len());
    for (half, value) in whole.iter_mut().zip(values) {
        let bits = value.to_bits();
        // Rounding would turn some NaNs into infinity.
        let nan = if value.is_nan() { 0x0040_0000 } else { 0 };
        let nearest = if value.is_nan() { 0 } else { 0x7fff + (bits >> 16 & 1) };
        *half = (((bits | nan) + nearest) >> 16) as u16;
    }
    padding.fill(0);
}

/// Returns the numbers of a word.
#[inline(always)]
pub fn numbers(word: u32) -> [f32; WORD] {
    [word << 16, word & 0xffff_0000].map(f32::from_bits)
}

/// Restores the values of a rounded row.
#[inline(always)]
pub fn restore(row: &[u32], values: &mut [f32]) {
    let halves: &[u16] = bytemuck::cast_slice(row);
    values.iter_mut().zip(halves).for_each(|(value, half)| *value = f32::from_bits(u32::from(*half) << 16));
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn values_are_rounded_as_the_half_crate_rounds_them() {
        let special = [0.0, -0.0, 1.0, 1.003_906_3, 1.011_718_8, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 3.0];
        let values: Vec<f32> = special.into_iter().chain((0..4000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761) & 0xbfff_ffff))).collect();
        let mut row = vec![u32::MAX; words(values.len())];
        round(&values, &mut row);
        let mut restored = vec![f32::NAN; values.len()];
        restore(&row, &mut restored);
        for (i, value) in values.iter().enumerate() {
            assert_eq!(restored[i].to_bits(), bf16::from_f32(*value).to_f32().to_bits(), "{value}");
            assert_eq!(numbers(row[i / WORD])[i % WORD].to_bits(), restored[i].to_bits());
        }
    }

    #[test]
    fn nan_remains_nan_and_rows_are_padded_with_zeros() {
        let mut row = [u32::MAX; 2];
        round(&[f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff), 1.0], &mut row);
        assert!(numbers(row[0]).iter().all(|value| value.is_nan()));
        assert_eq!(numbers(row[1]), [1.0, 0.0]);
    }
}
