//! Twin of `l2_normalize`: divides each row by its Euclidean norm.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `l2_normalize`.
    Params {
        /// Number of rows.
        rows: u32,
        /// Values per row.
        width: u32,
    }
}

/// Twin of `l2_normalize`.
pub fn l2_normalize(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let width = params.width as usize;
    for_each_chunk(call.write, width, |row, y| {
        let x = &x[row * width..][..width];
        let length = x.iter().map(|value| value * value).sum::<f32>().sqrt();
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x / length);
    });
}
