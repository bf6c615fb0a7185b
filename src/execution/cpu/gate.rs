//! Twin of `gate`: multiplies the second half of each row by the activation of the first.

use super::activation::{activate, numbered};
use super::parallel::for_each_chunk;
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
    let packed = call.packed.filter(|packed| packed.promise(width));
    for_each_chunk(call.write, width, |row, y| {
        let (gate, values) = x[row * 2 * width..][..2 * width].split_at(width);
        y.copy_from_slice(gate);
        activate(activation, packed.is_some(), y);
        y.iter_mut().zip(values).for_each(|(y, value)| *y *= value);
        // SAFETY: a task is a row.
        packed.inspect(|packed| unsafe { packed.pack(row, 0, y) });
    });
}
