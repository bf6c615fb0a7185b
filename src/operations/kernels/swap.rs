use super::{in_blocks, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::swap::{self as twin, Params};

pub static SWAP: Kernel = Kernel::new("swap", shader!("image/swap"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::swap);

/// Records the exchange of two axes: x is read as `[outer, R, S, inner]` and y as `[outer, S, R, inner]`, whatever their shapes.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn swap(recording: &mut Recording, label: String, x: Buf, axes @ [outer, r, s, inner]: [usize; 4], y: Buf) -> Result<()> {
    let elements: usize = axes.iter().product();
    assert_eq!([recording.all(x).len, recording.all(y).len], [elements; 2], "{label}: elements of x and y");
    recording.dispatch(Dispatch {
        kernel: &SWAP,
        spec: Spec::NONE.reading(recording.precision_of(x)).writing(recording.precision_of(y)),
        params: bytemuck::bytes_of(&Params { outer: size(outer), r: size(r), s: size(s), inner: size(inner) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, elements),
        label,
    })
}
