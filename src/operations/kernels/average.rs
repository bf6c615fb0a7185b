use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::average::{self as twin, Params};

pub static AVERAGE: Kernel = Kernel::new("average", shader!("average"), Params::FIELDS, &[read(1, "a"), read(2, "b"), write(3, "y")], twin::average);

/// Records y = (a + b) / 2, all of the same shape.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn average(recording: &mut Recording, label: String, [a, b]: [Buf; 2], y: Buf) -> Result<()> {
    assert_eq!([recording.shape(a), recording.shape(b)], [recording.shape(y); 2], "{label}: a, b and y");
    let len = recording.all(y).len;
    recording.dispatch(Dispatch {
        kernel: &AVERAGE,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { len: size(len) }).to_vec(),
        flops: 0,
        views: [a, b, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(len.div_ceil(64)),
        label,
    })
}
