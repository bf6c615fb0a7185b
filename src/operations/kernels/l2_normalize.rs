use super::{rows, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::l2_normalize::{self as twin, Params};

pub static L2_NORMALIZE: Kernel =
    Kernel::new("l2_normalize", shader!("l2_normalize"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::l2_normalize);

/// Records L2 normalisation of rows: x and y `[.., C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn l2_normalize(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    let (count, width) = rows(recording.shape(x));
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    recording.dispatch(Dispatch {
        kernel: &L2_NORMALIZE,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(count),
        label,
    })
}
