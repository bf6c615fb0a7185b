use super::{rows, size};
use crate::capabilities::Needs;
use crate::cpu::unit::{self as twin, Params};
use crate::error::Result;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static UNIT: Kernel = Kernel {
    name: "unit",
    wgsl: include_str!("../../shaders/unit.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "x"), write(2, "y")],
    needs: Needs::NOTHING,
    twin: twin::unit,
};

/// Records rows divided by their Euclidean norms: x and y `[.., C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn unit(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    let (count, width) = rows(recording.shape(x));
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    recording.dispatch(Dispatch {
        kernel: &UNIT,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width) }).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(count),
        label,
    })
}
