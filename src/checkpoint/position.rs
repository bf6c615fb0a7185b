//! Position tables for another grid than the one they were trained on.

use crate::config::Filter;
use crate::filter::taps;

/// Resamples a table `[h·w, width]`, rows of height first, to another grid, as timm does it
/// (`resample_abs_pos_embed`): bicubic with coefficient -0.5, antialiased, `align_corners=False`.
pub fn resample(table: &[f32], width: usize, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let rows = resample_axis(table, [1, from[0], from[1] * width], to[0]);
    resample_axis(&rows, [to[0], from[1], width], to[1])
}

/// Resamples the middle one of three axes to `count` entries.
fn resample_axis(values: &[f32], [outer, entries, inner]: [usize; 3], count: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(outer * count * inner);
    for block in values.chunks(entries * inner) {
        for i in 0..count {
            let (first, weights) = taps(Filter::Bicubic, entries, entries as f64 / count as f64, i);
            let rows = &block[first * inner..];
            let value = |column: usize| {
                weights.iter().zip(rows[column..].iter().step_by(inner)).map(|(weight, &value)| weight * f64::from(value)).sum::<f64>()
            };
            result.extend((0..inner).map(|column| value(column) as f32));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_gives_the_same_table() {
        let table: Vec<f32> = (0..3 * 4 * 2).map(|value| (value * value) as f32).collect();
        assert_eq!(resample(&table, 2, [3, 4], [3, 4]), table);
    }

    #[test]
    fn a_constant_table_stays_constant() {
        for to in [[2, 7], [9, 1]] {
            for value in resample(&[3.0; 5 * 4], 1, [5, 4], to) {
                approx::assert_abs_diff_eq!(value, 3.0, epsilon = 1e-6);
            }
        }
    }
}
