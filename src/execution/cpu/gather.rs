//! Twin of `gather`.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `gather`.
    Params {
        /// B, sequences.
        batch: u32,
        /// N, tokens per sequence.
        tokens: u32,
        /// C, width of a token.
        width: u32,
    }
}

/// Twin of `gather`.
pub fn gather(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, index] = call.reads else { panic!("x and index") };
    let [tokens, width] = [params.tokens, params.width].map(|size| size as usize);
    for_each_chunk(call.write, width, |b, y| {
        let n = (index[b] as usize).min(tokens - 1);
        y.copy_from_slice(&x[(b * tokens + n) * width..][..width]);
    });
}
