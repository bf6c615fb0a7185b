//! Twin of `qk_norm`: LayerNorm over the query and key of each head.

use super::layernorm::normalise_in_place;
use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `qk_norm`.
    Params {
        /// Tokens over all images.
        rows: u32,
        /// H, heads.
        heads: u32,
        /// D, width of a head.
        head: u32,
        /// Epsilon added to the variance.
        epsilon: f32,
    }
}

/// Twin of `qk_norm`.
pub fn qk_norm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [q_weight, q_bias, k_weight, k_bias] = call.reads else { panic!("weight and bias for queries and keys") };
    let [heads, head] = [params.heads, params.head].map(|size| size as usize);
    for_each_chunk(call.write, 3 * heads * head, |_, token| {
        let (queries, rest) = token.split_at_mut(heads * head);
        let keys = &mut rest[..heads * head];
        queries.chunks_mut(head).for_each(|query| normalise_in_place(query, q_weight, q_bias, params.epsilon));
        keys.chunks_mut(head).for_each(|key| normalise_in_place(key, k_weight, k_bias, params.epsilon));
    });
}
