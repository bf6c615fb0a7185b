//! Twin of `quantise.wgsl`: quantises rows to 8-bit integers, with a scale per row.

use super::parallel::for_each_chunk;
use crate::data::int8::{WORD, scale, word};
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
    let words: &mut [u32] = bytemuck::cast_slice_mut(call.write);
    for_each_chunk(words, width.div_ceil(WORD) + 1, |row, words| {
        let values = &x[row * width..][..width];
        let scale = scale(values);
        let rounded = values.chunks(WORD).map(|values| word(values, scale)).chain([scale.to_bits()]);
        words.iter_mut().zip(rounded).for_each(|(word, rounded)| *word = rounded);
    });
}
