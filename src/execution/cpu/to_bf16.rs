//! Twin of `to_bf16.wgsl`: rounds rows to bf16.

use super::parallel::for_each_chunk;
use super::vectors::vectorised;
use crate::data::bf16;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `to_bf16`.
    Params {
        /// M, rows.
        rows: u32,
        /// K, values per row.
        width: u32,
    }
}

/// Twin of `to_bf16`.
pub fn to_bf16(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let width = params.width as usize;
    let x = call.reads[0];
    let y: &mut [u32] = bytemuck::cast_slice_mut(call.write);
    for_each_chunk(y, bf16::words(width), |row, y| round_row(&x[row * width..][..width], y));
}

vectorised! {
    fn round_row<'a>(values: &'a [f32], row: &'a mut [u32]) -> () {
        bf16::round(values, row);
    }
}

vectorised! {
    /// Restores the values of a rounded row.
    pub(super) fn restore_row<'a>(row: &'a [u32], values: &'a mut [f32]) -> () {
        bf16::restore(row, values);
    }
}
