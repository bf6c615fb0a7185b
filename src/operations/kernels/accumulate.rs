use super::{in_blocks, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::accumulate::{self as twin, Params};

pub static ACCUMULATE: Kernel = Kernel::new("accumulate", shader!("accumulate"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::accumulate);

/// Records y += x, both of the same shape.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn accumulate(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    let len = recording.all(y).len;
    recording.dispatch(Dispatch {
        kernel: &ACCUMULATE,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { len: size(len) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, len),
        label,
    })
}
