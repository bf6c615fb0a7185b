//! Twin of `quantise.wgsl`: quantises rows to 8-bit integers, with a scale per block.

use super::parallel::for_each_chunk;
use super::vectors::vectorised;
use crate::data::int8;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `quantise`.
    Params {
        /// M, rows.
        rows: u32,
        /// K, values per row.
        width: u32,
    }
}

/// Twin of `quantise`.
pub fn quantise(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let width = params.width as usize;
    let x = call.reads[0];
    let y: &mut [u32] = bytemuck::cast_slice_mut(call.write);
    for_each_chunk(y, int8::row_words(width), |row, y| quantise_row(&x[row * width..][..width], y));
}

vectorised! {
    fn quantise_row<'a>(values: &'a [f32], row: &'a mut [u32]) -> () {
        int8::quantise(values, row);
    }
}

vectorised! {
    /// Restores the values of a quantised row.
    pub(super) fn restore_row<'a>(row: &'a [u32], values: &'a mut [f32]) -> () {
        int8::restore(row, values);
    }
}
