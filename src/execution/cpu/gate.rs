//! Twin of `gate`: multiplies the second half of each row by the activation of the first.

use super::activation::{activate, numbered};
use super::packed_rows::for_each_row;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `gate`.
    Params {
        /// Number of rows.
        rows: u32,
        /// F, values per output row.
        width: u32,
    }
}

/// Twin of `gate`.
pub fn gate(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let width = params.width as usize;
    let activation = numbered(call.spec.get("ACTIVATION"));
    for_each_row(call.write, width, call.packed, |row, y| {
        let (gate, values) = x[row * 2 * width..][..2 * width].split_at(width);
        y.copy_from_slice(gate);
        activate(activation, y);
        y.iter_mut().zip(values).for_each(|(y, value)| *y *= value);
    });
}
