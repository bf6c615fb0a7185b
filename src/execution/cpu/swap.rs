//! Twin of `swap`: exchanges two axes.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `swap`.
    Params {
        /// Product of the axes in front of the two.
        outer: u32,
        /// R, size of x's first of the two axes.
        r: u32,
        /// S, size of the second.
        s: u32,
        /// Product of the axes behind them.
        inner: u32,
    }
}

/// Twin of `swap`.
pub fn swap(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [r, s, inner] = [params.r, params.s, params.inner].map(|size| size as usize);
    for_each_chunk(call.write, r * inner, |line, y| {
        let first = line / s * r * s + line % s;
        for (row, y) in y.chunks_mut(inner).enumerate() {
            y.copy_from_slice(&x[(first + row * s) * inner..][..inner]);
        }
    });
}
