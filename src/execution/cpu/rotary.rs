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
        /// Distance between the first elements of pairs.
        step: u32,
        /// Distance between the elements of a pair.
        gap: u32,
        /// Heads with angles of their own: H or 1.
        turns: u32,
    }
}

/// Twin of `rotary`.
pub fn rotary(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [angles] = call.reads else { panic!("angles") };
    let [tokens, heads, head, skip] = [params.tokens, params.heads, params.head, params.skip].map(|size| size as usize);
    let [step, gap, turns] = [params.step, params.gap, params.turns].map(|size| size as usize);
    for_each_chunk(call.write, 3 * heads * head, |row, token| {
        let n = row % tokens;
        if n < skip {
            return;
        }
        for (i, vector) in token[..2 * heads * head].chunks_mut(head).enumerate() {
            let angles = &angles[((n - skip) * turns + i % heads % turns) * head..][..head];
            for (pair, angle) in angles.chunks(2).enumerate() {
                let (at, cosine, sine) = (pair * step, angle[0], angle[1]);
                let (low, high) = (vector[at], vector[at + gap]);
                (vector[at], vector[at + gap]) = (low * cosine - high * sine, high * cosine + low * sine);
            }
        }
    });
}
