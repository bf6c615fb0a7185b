use super::{in_blocks, rows, size};
use crate::data::config::Activation;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::gate::{self as twin, Params};

pub static GATE: Kernel = Kernel::new("gate", shader!("gate"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::gate);

/// Records y = activation(first half of x) · second half of x: x `[.., 2·F]`, y `[.., F]` (Shazeer 2020).
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn gate(recording: &mut Recording, label: String, x: Buf, activation: Activation, y: Buf) -> Result<()> {
    let (count, width) = rows(recording.shape(y));
    assert_eq!(rows(recording.shape(x)), (count, 2 * width), "{label}: x");
    recording.dispatch(Dispatch {
        kernel: &GATE,
        spec: Spec::NONE.with([("ACTIVATION", activation as u32)]).reading(recording.precision_of(x)).writing(recording.precision_of(y)),
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, count * width),
        label,
    })
}
