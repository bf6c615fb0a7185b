use super::{rows, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::unit::{self as twin, Params};

pub static UNIT: Kernel = Kernel::new("unit", shader!("unit"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::unit);

/// Records rows divided by their Euclidean norms: x and y `[.., C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn unit(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    let (count, width) = rows(recording.shape(x));
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    recording.dispatch(Dispatch {
        kernel: &UNIT,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(count),
        label,
    })
}
