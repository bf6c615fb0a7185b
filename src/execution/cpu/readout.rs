//! Twin of `readout`: the patches of tokens, with the class token.

use super::packed_rows::for_each_row;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `readout`.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// Tokens before the patches.
        skip: u32,
        /// C, values per token.
        channels: u32,
    }
}

/// Twin of `readout`.
pub fn readout(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [tokens, skip, channels] = [params.tokens, params.skip, params.channels].map(|size| size as usize);
    let readout = call.spec.get("READOUT");
    let width = if readout == 2 { 2 * channels } else { channels };
    for_each_row(call.write, width, call.packed, |row, y| {
        let (image, patch) = (row / (tokens - skip), row % (tokens - skip));
        let token = |n: usize| &x[(image * tokens + n) * channels..][..channels];
        let (own, beside) = y.split_at_mut(channels);
        own.copy_from_slice(token(skip + patch));
        match readout {
            1 => own.iter_mut().zip(token(0)).for_each(|(y, class)| *y += class),
            2 => beside.copy_from_slice(token(0)),
            _ => {}
        }
    });
}
