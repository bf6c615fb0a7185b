//! Twin of `rotary`: rotates pairs of values in queries and keys by the angles of their token's position.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `rotary`.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// H, heads.
        heads: u32,
        /// D, width of a head.
        head: u32,
        /// Leading tokens without a position.
        skip: u32,
    }
}

/// Twin of `rotary`.
pub fn rotary(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [angles] = call.reads else { panic!("angles") };
    let [tokens, heads, head, skip] = [params.tokens, params.heads, params.head, params.skip].map(|size| size as usize);
    for_each_chunk(call.write, 3 * heads * head, |row, token| {
        let n = row % tokens;
        if n < skip {
            return;
        }
        let angles = &angles[(n - skip) * head..][..head];
        for vector in token[..2 * heads * head].chunks_mut(head) {
            let (low, high) = vector.split_at_mut(head / 2);
            for ((low, high), angle) in low.iter_mut().zip(high).zip(angles.chunks(2)) {
                let (cosine, sine) = (angle[0], angle[1]);
                (*low, *high) = (*low * cosine - *high * sine, *high * cosine + *low * sine);
            }
        }
    });
}
