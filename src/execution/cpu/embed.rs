//! Twin of `embed`: puts prefix tokens before the patches and adds positions.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `embed`.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens.
        tokens: u32,
        /// C, width of a token.
        width: u32,
        /// T, prefix tokens.
        prefix: u32,
        /// Leading prefix tokens without a position.
        skip: u32,
    }
}

/// Twin of `embed`.
pub fn embed(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [patches, prefix, position] = call.reads else { panic!("patches, prefix and position") };
    let [tokens, width, front, skip] = [params.tokens, params.width, params.prefix, params.skip].map(|size| size as usize);
    for_each_chunk(call.write, width, |row, token| {
        let (n, b) = (row % tokens, row / tokens);
        let from = if n < front { &prefix[n * width..] } else { &patches[(b * (tokens - front) + n - front) * width..] };
        token.copy_from_slice(&from[..width]);
        if n >= skip {
            let position = &position[(n - skip) * width..];
            token.iter_mut().zip(position).for_each(|(value, position)| *value += position);
        }
    });
}
