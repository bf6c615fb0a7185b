//! Twin of `average`.

use crate::data::record::{Call, params};

params! {
    /// Parameters of `average`.
    Params {
        /// Number of elements.
        len: u32,
    }
}

/// Twin of `average`.
pub fn average(call: Call<'_>) {
    let [a, b] = call.reads else { panic!("a and b") };
    call.write.iter_mut().zip(a.iter().zip(*b)).for_each(|(y, (a, b))| *y = (a + b) / 2.0);
}
