//! Tables of rotary positions over both axes of a grid of patches.

use super::positions::Positions;
use crate::data::config::{Angles, Rotary};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use std::f64::consts::TAU;

impl Positions {
    /// Returns the angles of the patches of a grid as cosines and sines, `[P, 1, D / 2, 2]`; for learned ones `[P, H, D / 2, 2]`, one table for each block.
    /// D is `head`.
    ///
    /// Sources: transformers' `DINOv3ViTRopePositionEmbedding`; timm's `RotaryEmbeddingCat` and `RotaryEmbeddingMixed`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a learned frequency is not finite.
    pub fn rotary(&self, rotary: Rotary, grid: [usize; 2], head: usize) -> Result<Vec<Tensor>> {
        let quarter = head / 4;
        match rotary.angles {
            Angles::Centred { base } => {
                let centre = |i: usize, axis: usize| 2.0 * (i as f64 + 0.5) / grid[axis] as f64 - 1.0;
                let angle = |patch: [usize; 2], j: usize| {
                    let axis = j / quarter;
                    TAU * centre(patch[axis], axis) / base.powf(4.0 * (j % quarter) as f64 / head as f64)
                };
                Ok(vec![table(grid, 1, head, |patch, _, j| angle(patch, j))])
            }
            Angles::Indexed { base, offset, reference, columns_first } => {
                let place = |i: usize, axis: usize| {
                    let index = i as f64 + offset;
                    reference.map_or(index, |reference| index / grid[axis] as f64 * reference[axis] as f64)
                };
                let angle = |patch: [usize; 2], j: usize| {
                    let axis = ordered(j / quarter, columns_first);
                    place(patch[axis], axis) / base.powf((j % quarter) as f64 / quarter as f64)
                };
                Ok(vec![table(grid, 1, head, |patch, _, j| angle(patch, j))])
            }
            Angles::Learned { columns_first } => self.learned_rotary(grid, head, columns_first),
        }
    }

    fn learned_rotary(&self, grid: [usize; 2], head: usize, columns_first: bool) -> Result<Vec<Tensor>> {
        let Some(frequencies) = &self.frequencies else { return Err(Error::tensor("rope.freqs", "not in the checkpoint")) };
        let [_, blocks, heads, half] = *frequencies.shape() else { panic!("frequencies are [2, blocks, H, D / 2]") };
        let values = frequencies.finite_values("rope.freqs")?;
        let of_block = |block: usize| {
            let frequency = |axis: usize, h: usize, j: usize| f64::from(values[((axis * blocks + block) * heads + h) * half + j]);
            let angle = |patch: [usize; 2], h: usize, j: usize| {
                let turn = |axis: usize| patch[ordered(axis, columns_first)] as f64 * frequency(axis, h, j);
                turn(0) + turn(1)
            };
            table(grid, heads, head, angle)
        };
        Ok((0..blocks).map(of_block).collect())
    }
}

/// Returns the axis of the grid (0 rows, 1 columns) that comes first or second.
fn ordered(place: usize, columns_first: bool) -> usize {
    if columns_first { 1 - place } else { place }
}

fn table(grid: [usize; 2], heads: usize, head: usize, angle: impl Fn([usize; 2], usize, usize) -> f64) -> Tensor {
    let mut values = Vec::with_capacity(grid[0] * grid[1] * heads * head);
    for patch in 0..grid[0] * grid[1] {
        for pair in 0..heads * head / 2 {
            let (sine, cosine) = angle([patch / grid[1], patch % grid[1]], pair / (head / 2), pair % (head / 2)).sin_cos();
            values.extend([cosine as f32, sine as f32]);
        }
    }
    Tensor::new([grid[0] * grid[1], heads, head / 2, 2], values).expect("two values for each pair")
}
