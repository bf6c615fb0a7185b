//! Patch positions that are added: learned tables, resampled to the image's grid, and computed ones.

use crate::data::error::Result;
use crate::data::tensor::Tensor;
use crate::execution::image::Filter;
use crate::execution::image::filter::{Interpolation, neighbours, taps};

/// Method by which a library resamples a table to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Bicubic with coefficient -0.5, antialiased: timm's `resample_abs_pos_embed`, and transformers' DINOv2 with registers.
    BicubicAntialiased,
    /// Bicubic with coefficient -0.75, not antialiased: transformers' `interpolate_pos_encoding`.
    Bicubic,
    /// The same, for a grid larger by 0.1: Facebook's DINOv2, which so kept rounding from losing a row.
    BicubicOffset,
    /// Bilinear, antialiased: transformers' SigLIP 2.
    BilinearAntialiased,
    /// Bilinear, not antialiased: timm's FlexiViT and RADIO, and Google's npz files.
    Bilinear,
    /// Bilinear with the corners of both grids aligned (`align_corners=True`): some of timm's RADIO models.
    BilinearCorners,
}

/// Learned position table for a grid of patches, without the rows of prefix tokens.
#[derive(Clone, Debug)]
pub struct PositionTable {
    /// `[grid height · grid width, C]`, row by row.
    pub(super) table: Tensor,
    /// Grid that the table was trained on.
    pub(super) grid: [usize; 2],
    /// Grid with the same number of patches for which the table is used unchanged, whatever its own grid.
    pub(super) as_is: Option<[usize; 2]>,
    /// Resampling method.
    pub(super) resampling: Resampling,
    /// Grid that the table is resampled to before any other: timm builds models of a dynamic size for one size, resamples
    /// for that, and then again for each image.
    pub(super) built: Option<([usize; 2], Resampling)>,
    /// Number of learned values, including those of prefix tokens.
    pub(super) learned: usize,
}

impl PositionTable {
    /// Returns the table for a grid, `[grid height · grid width, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a value is not finite.
    pub fn at(&self, grid: [usize; 2]) -> Result<Tensor> {
        if self.as_is == Some(grid) && self.table.shape()[0] == grid[0] * grid[1] {
            return Ok(self.table.clone());
        }
        let width = self.table.shape()[1];
        let mut from = self.grid;
        let mut table = self.table.clone();
        for (to, resampling) in self.built.into_iter().chain([(grid, self.resampling)]) {
            if to != from {
                let values = table.finite_values("the position table")?;
                table = Tensor::new([to[0] * to[1], width], resample(&values, width, from, to, resampling))?;
                from = to;
            }
        }
        Ok(table)
    }
}

/// Resamples a table `[h·w, width]` to another grid.
pub fn resample(table: &[f32], width: usize, from: [usize; 2], to: [usize; 2], resampling: Resampling) -> Vec<f32> {
    let wide: Vec<f64> = table.iter().copied().map(f64::from).collect();
    let rows = resample_axis(&wide, [1, from[0], from[1] * width], to[0], resampling);
    let grid = resample_axis(&rows, [to[0], from[1], width], to[1], resampling);
    grid.into_iter().map(|value| value as f32).collect()
}

/// Resamples the middle one of three axes to `count` entries.
fn resample_axis(values: &[f64], [outer, entries, inner]: [usize; 3], count: usize, resampling: Resampling) -> Vec<f64> {
    let mut result = Vec::with_capacity(outer * count * inner);
    let scale = entries as f64 / count as f64;
    for block in values.chunks(entries * inner) {
        for i in 0..count {
            let (first, weights) = match resampling {
                Resampling::BicubicAntialiased => taps(Filter::Bicubic, entries, scale, i),
                Resampling::BilinearAntialiased => taps(Filter::Bilinear, entries, scale, i),
                Resampling::Bicubic => neighbours(Interpolation::Bicubic, entries, (i as f64 + 0.5) * scale - 0.5),
                Resampling::BicubicOffset => {
                    neighbours(Interpolation::Bicubic, entries, (i as f64 + 0.5) * entries as f64 / (count as f64 + 0.1) - 0.5)
                }
                Resampling::Bilinear => neighbours(Interpolation::Bilinear, entries, (i as f64 + 0.5) * scale - 0.5),
                Resampling::BilinearCorners => {
                    neighbours(Interpolation::Bilinear, entries, i as f64 * (entries - 1) as f64 / (count - 1).max(1) as f64)
                }
            };
            let rows = &block[first * inner..];
            let value = |column: usize| weights.iter().zip(rows[column..].iter().step_by(inner)).map(|(weight, value)| weight * value).sum::<f64>();
            result.extend((0..inner).map(value));
        }
    }
    result
}

/// Sinusoidal positions of the original Transformer, `[tokens, width]`: column 2i is sin(p / 10000^(2i / width)), column
/// 2i + 1 is the cosine of the same angle (Vaswani et al. 2017, section 3.5).
pub fn sinusoidal(tokens: usize, width: usize) -> Tensor {
    let value = |at: usize| {
        let (position, column) = (at / width, at % width);
        let angle = position as f64 / 10_000f64.powf((column / 2 * 2) as f64 / width as f64);
        (if column % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    };
    Tensor::new([tokens, width], (0..tokens * width).map(value).collect()).expect("a value for each element")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resampling; 5] =
        [Resampling::BicubicAntialiased, Resampling::Bicubic, Resampling::BilinearAntialiased, Resampling::Bilinear, Resampling::BilinearCorners];

    const OFFSET: [f32; 2] = [0.1943, 6.0358];

    /// torch 2.15's `interpolate(scale_factor=(2 + 0.1) / 4, mode="bicubic")` of 0, 1, 4, 9.
    #[test]
    fn offset_grid_is_resampled_as_torch_does() {
        let values = resample(&[0.0, 1.0, 4.0, 9.0], 1, [1, 4], [1, 2], Resampling::BicubicOffset);
        for (value, expected) in values.iter().zip(OFFSET) {
            approx::assert_abs_diff_eq!(*value, expected, epsilon = 1e-4);
        }
    }

    fn table(values: Vec<f32>, grid: [usize; 2], resampling: Resampling) -> PositionTable {
        PositionTable { table: Tensor::new([grid[0] * grid[1], 1], values).expect("a table"), grid, as_is: None, resampling, built: None, learned: 0 }
    }

    #[test]
    fn resampling_to_the_same_grid_is_identity() {
        let values: Vec<f32> = (0..12).map(|value| (value * value) as f32).collect();
        for resampling in ALL {
            assert_eq!(resample(&values, 1, [3, 4], [3, 4], resampling), values);
        }
    }

    #[test]
    fn constant_table_stays_constant_when_resampled() {
        for (to, resampling) in [[2, 7], [9, 1]].into_iter().flat_map(|to| ALL.map(|resampling| (to, resampling))) {
            for value in table(vec![3.0; 20], [5, 4], resampling).at(to).expect("finite").values().iter() {
                approx::assert_abs_diff_eq!(*value, 3.0, epsilon = 1e-6);
            }
        }
    }

    /// The same number of patches in another arrangement is another grid.
    #[test]
    fn same_area_grid_of_other_shape_is_resampled() {
        let values: Vec<f32> = (0..16).map(|value| value as f32).collect();
        let table = table(values.clone(), [4, 4], Resampling::Bicubic);
        assert_eq!(*table.at([4, 4]).expect("finite").values(), values);
        assert_ne!(*table.at([2, 8]).expect("finite").values(), values);
    }
}
