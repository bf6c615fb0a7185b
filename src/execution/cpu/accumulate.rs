//! Twin of `accumulate`.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

/// Elements of a task.
const CHUNK: usize = 1 << 14;

params! {
    /// Parameters of `accumulate`.
    Params {
        /// Number of elements.
        len: u32,
    }
}

/// Twin of `accumulate`.
pub fn accumulate(call: Call<'_>) {
    let [x] = call.reads else { panic!("x") };
    for_each_chunk(call.write, CHUNK, |chunk, y| y.iter_mut().zip(&x[chunk * CHUNK..]).for_each(|(y, x)| *y += x));
}
