use super::{in_blocks, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::resize::{self as twin, Params};

pub static RESIZE: Kernel = Kernel::new("resize", shader!("image/resize"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::resize);

/// How two grids of pixels lie over each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// The centres of their corner pixels coincide (torch's `align_corners=True`).
    Corners,
    /// Their edges coincide.
    Edges,
}

/// Use of what the result's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// It is overwritten.
    Nothing,
    /// The result is added to it.
    Sum,
}

/// Records bilinear interpolation: x `[B, height, width, channels]`, y `[B, rows, columns, channels]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn resize(recording: &mut Recording, label: String, x: Buf, alignment: Alignment, onto: Onto, y: Buf) -> Result<()> {
    let &[batch, height, width, channels] = recording.shape(x) else { panic!("{label}: x is [B, height, width, channels]") };
    let &[images, rows, columns, _] = recording.shape(y) else { panic!("{label}: y is [B, rows, columns, channels]") };
    assert_eq!(recording.shape(y), [batch, rows, columns, channels], "{label}: y");
    // Places are computed in 32 bits, as products of a place in y and a size of x.
    assert!([height, width, rows, columns].iter().all(|side| *side < 1 << 15), "{label}: sides of less than 32768");
    let constants = [("CORNERS", u32::from(alignment == Alignment::Corners)), ("ADDED", u32::from(onto == Onto::Sum))];
    let params =
        Params { batch: size(images), height: size(height), width: size(width), rows: size(rows), columns: size(columns), channels: size(channels) };
    recording.dispatch(Dispatch {
        kernel: &RESIZE,
        spec: Spec::NONE.with(constants).reading(recording.precision_of(x)).writing(recording.precision_of(y)),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, batch * rows * columns * channels),
        label,
    })
}
