//! Twins of `qk_norm` and `qk_rmsnorm`: a norm over the query and key of each head.

use super::layernorm::{normalise_in_place, scale_in_place};
use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `qk_norm` and `qk_rmsnorm`.
    Params {
        /// Tokens over all images.
        rows: u32,
        /// H, heads.
        heads: u32,
        /// D, width of a head.
        head: u32,
        /// Epsilon added to the variance, or to the mean of the squares.
        epsilon: f32,
    }
}

/// Twin of `qk_norm`.
pub fn qk_norm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [q_weight, q_bias, k_weight, k_bias] = call.reads else { panic!("weight and bias for queries and keys") };
    for_each_vector(call.write, params, |vector, part| match part {
        0 => normalise_in_place(vector, q_weight, q_bias, params.epsilon),
        _ => normalise_in_place(vector, k_weight, k_bias, params.epsilon),
    });
}

/// Twin of `qk_rmsnorm`.
pub fn qk_rmsnorm(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [q_weight, k_weight] = call.reads else { panic!("weights for queries and keys") };
    for_each_vector(call.write, params, |vector, part| scale_in_place(vector, [q_weight, k_weight][part], params.epsilon));
}

/// Calls `change` with each query (part 0) and key (part 1).
fn for_each_vector(qkv: &mut [f32], params: Params, change: impl Fn(&mut [f32], usize) + Sync) {
    let [heads, head] = [params.heads, params.head].map(|size| size as usize);
    for_each_chunk(qkv, 3 * heads * head, |_, token| {
        for (part, vectors) in token.chunks_mut(heads * head).take(2).enumerate() {
            vectors.chunks_mut(head).for_each(|vector| change(vector, part));
        }
    });
}
