//! Twins of the two `rollout` kernels.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of the `rollout` kernels.
    Params {
        /// B, images.
        batch: u32,
        /// N, tokens per image.
        tokens: u32,
        /// H, heads.
        heads: u32,
    }
}

/// Twin of `rollout_mix`.
pub fn rollout_mix(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [p] = call.reads else { panic!("p") };
    let [tokens, heads] = [params.tokens, params.heads].map(|size| size as usize);
    for_each_chunk(call.write, tokens, |row, a| {
        let (b, i) = (row / tokens, row % tokens);
        a.fill(0.0);
        for h in 0..heads {
            let own = &p[((b * heads + h) * tokens + i) * tokens..][..tokens];
            a.iter_mut().zip(own).for_each(|(sum, weight)| *sum += weight);
        }
        a.iter_mut().for_each(|sum| *sum *= 0.5 / heads as f32);
        a[i] += 0.5;
    });
}

/// Twin of `rollout_product`.
pub fn rollout_product(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [mixed, x] = call.reads else { panic!("mixed and x") };
    let tokens = params.tokens as usize;
    for_each_chunk(call.write, tokens, |row, y| {
        y.fill(0.0);
        let image = &x[row / tokens * tokens * tokens..];
        for (weight, values) in mixed[row * tokens..][..tokens].iter().zip(image.chunks(tokens)) {
            y.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        }
    });
}
